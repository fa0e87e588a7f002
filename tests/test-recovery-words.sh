#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# docs/recovery.md has every sentence by which a node says why it is in its
# state or refuses something, word by word, and none that no node says; and
# the tests and stories that it names exist.
. "$(dirname "$0")/functions.sh"

# All sentences in these files are such, so that no new one is forgotten.
words='core core-admin core-agree core-client core-disk core-etcd core-flush
       core-link core-open core-pause core-resize core-sync core-target
       core-verify generation engine-status connector hail tls'

# shellcheck disable=SC2086 # a list, split on purpose
/usr/bin/python3 - $words > "$dir/out" << 'END' || fail "$(cat "$dir/out")"
import os, re, sys

LITERAL = r'"(?:[^"\\\n]|\\.)*"'

def text_of (source):
    return "".join (re.findall (r'"((?:[^"\\\n]|\\.)*)"', source)) \
        .replace ('\\"', '"')

def sentences (name):
    source = open ("replicator/%s.c" % name).read ().replace ("\\\n", " ")
    for comment in r"/\*.*?\*/", r"\b_?[A-Za-z]*_?[Aa]ssert ?\(.*?\);", \
            r"^ *#include .*?$":
        source = re.sub (comment, " ", source, flags=re.S | re.M)
    macros = {}
    shared = open ("replicator/core-internal.h").read ().replace ("\\\n", " ")
    for macro, value in re.findall (r"^#define (\w+) +(.*)$",
                                    shared + source, re.M):
        if re.fullmatch (r"(%s\s*)+" % LITERAL, value.strip ()):
            macros[macro] = value
    source = re.sub (r"^#.*$", " ", source, flags=re.M)
    for macro, value in macros.items ():
        source = re.sub (r"\b%s\b" % macro, lambda match: value, source)
    for found in re.findall (r"%s(?:\s*%s)*" % (LITERAL, LITERAL), source):
        text = text_of (found)
        # Not formats, names of threads and the like.
        if " " in text.strip () and "%" not in text:
            yield text

said = {}
for name in sys.argv[1:]:
    for text in sentences (name):
        said.setdefault (text, name)
told, missing = {}, []
document = open ("docs/recovery.md").read ()
for line in document.split ("\n"):
    match = re.match (r"\| `(.+?)` \|", line)
    if match:
        told[match[1]] = line
for text in sorted (set (said) - set (told)):
    missing.append ("not told: %s (replicator/%s.c)" % (text, said[text]))
for text in sorted (set (told) - set (said)):
    missing.append ("nobody says: %s" % text)
for test in sorted (set (re.findall (r"\btest-[a-z0-9-]+", document))):
    if not os.path.exists ("tests/%s.sh" % test):
        missing.append ("no such test: " + test)
for check in sorted (set (re.findall (r"\bcheck-[a-z0-9-]+", document))):
    if not os.path.exists ("tests/%s.c" % check):
        missing.append ("no such test: " + check)
for story in sorted (set (re.findall (r"\bstory ([a-z][a-z0-9-]+)", document))):
    if not os.path.exists ("tests/stories/%s.txt" % story):
        missing.append ("no such story: " + story)
print ("\n".join (missing) or "%d sentences" % len (said))
sys.exit (len (missing) > 0)
END
cat "$dir/out"
