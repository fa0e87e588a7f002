#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The page of a node in a real browser: it shows both nodes and who serves;
# when the primary is killed the failover appears on the survivor's page
# without a reload, and later the resync and its end; when the node itself
# dies the page says so; keys work; the policy stops nothing of it.  Pictures
# of it are left in $BUILD/page.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/http-functions.sh
require_command curl
browser=$(command -v chromium || command -v chromium-browser ||
          command -v google-chrome) ||
  skip 'no chromium here: make deps-page'

start_node a "$(http_of a)"
start_node b
wait_insync
choose_primary b
start_proxy
nbdsh "$proxy_uri" 'h.pwrite (os.urandom (32 << 20), 0)'

# The script below asks for what the nodes shall do, and goes on when it is
# done: it writes to "ask", and reads from "done".
mkfifo "$dir/ask" "$dir/done"
mkdir -p "$BUILD/page"
/usr/bin/python3 - "$browser" "http://127.0.0.1:${http_port[a]}/" \
  "$dir/ask" "$dir/done" "$BUILD/page" "$patience" \
  > "$dir/browser.log" 2>&1 << 'END' &
import sys
sys.path.insert (0, 'tests')
from browser import Browser

program, url, ask, done, pictures, patience = sys.argv[1:]
asking = open (ask, 'w')
answers = open (done)


def do (what):
    print (what, file=asking, flush=True)
    assert answers.readline ().strip () == what


def text (selector):
    return f'document.querySelector ({selector!r}).textContent'


with Browser (program, 60 * int (patience)) as page:
    def shows (selector, words):
        page.wait (f'{text (selector)}.includes ({words!r})')

    def picture (name):
        for dark in False, True:
            page.dark (dark)
            for phone in False, True:
                page.size (390 if phone else 1280, 844 if phone else 800,
                           phone)
                page.picture (f'{pictures}/{name}'
                              f'{"-phone" if phone else ""}'
                              f'{"-dark" if dark else ""}.png')
                wide = page.run ('document.documentElement.scrollWidth')
                assert wide <= (390 if phone else 1280), wide
        page.size (1280, 800)

    page.size (1280, 800)
    page.open (url)
    # As a page that was loaded anew would not know.
    page.run ('window.sameLoad = true')
    shows ('#headline', 'The peer serves')
    shows ('#me .word', 'backup')
    shows ('#peer .word', 'primary')
    shows ('#peer .tag', 'serves')
    shows ('#wire b', 'linked')
    page.wait ('document.querySelectorAll ("#plots path.a")[2]'
               '.getAttribute ("d").length > 20')
    picture ('backup')

    # Keys: every plot and list is reached, and samples are read out.
    seen = set ()
    for _ in range (12):
        page.key ('Tab')
        seen.add (page.run ('document.activeElement.id || '
                            'document.activeElement.getAttribute ("class")'))
    assert {'skip', 'plot', 'events'} <= seen, seen
    page.run ('document.querySelector (".plot").focus ()')
    page.key ('ArrowLeft')
    shows ('#say', 'write 99 %')
    page.wait ('document.querySelector (".plot .cursor") !== null')
    page.key ('Escape')
    page.wait ('document.querySelector (".plot .cursor") === null')

    do ('kill')
    shows ('#headline', 'This node serves')
    shows ('#me .word', 'solo')
    shows ('#peer .word', 'not connected')
    shows ('#wire b', 'no link')
    shows ('#events', '(takeover)')
    shows ('#say', 'This node serves')
    page.wait ('document.title.startsWith ("solo, serving")')
    page.wait ('[...document.querySelectorAll ("#strip div")]'
               '.some (part => part.title.startsWith ("solo"))')
    picture ('failover')

    do ('return')
    page.wait ('!document.querySelector ("#resync").hidden')
    page.wait ('+document.querySelector ("#resync .bar")'
               '.getAttribute ("aria-valuenow") > 0')
    picture ('resync')
    do ('hurry')
    page.wait ('document.querySelector ("#resync").hidden')
    shows ('#me .word', 'primary')
    shows ('#headline', 'This node serves')

    do ('away')
    shows ('#headline', 'does not answer')
    picture ('away')
    do ('back')
    page.wait ('!document.body.classList.contains ("away")')
    shows ('#events', 'the node has started')

    assert page.run ('window.sameLoad'), 'the page was loaded anew'
    assert not page.problems, page.problems
END
script=$!
tracked+=("$script")
exec 3< "$dir/ask" 4> "$dir/done"
while read -r -u 3 what; do
  case $what in
    kill)
      kill_node b
      nbdsh "$proxy_uri" 'h.pwrite (os.urandom (32 << 20), 0)' ;;
    return)
      # Slow enough to be looked at: the rate is the source's.
      kill_node a
      start_node a "$(http_of a)" resync-rate=2M
      start_node b
      nbdsh "$proxy_uri" 'h.pwrite (b"x", 0)' ;;
    hurry)
      kill_node a
      start_node a "$(http_of a)"
      nbdsh "$proxy_uri" 'h.pwrite (b"x", 0)'
      wait_insync ;;
    away) kill_node a ;;
    back) start_node a "$(http_of a)" ;;
  esac
  echo "$what" >&4
done
wait "$script" || fail "$(tail -n 20 "$dir/browser.log")"
ls "$BUILD"/page/{backup,failover,resync,away}{,-phone}{,-dark}.png > /dev/null
