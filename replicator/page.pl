#!/usr/bin/perl
# SPDX-License-Identifier: BSD-3-Clause
#
# page.pl PAGE.html: the page as a list of bytes for a C compiler, and the
# policy that lets a browser run the one style and the one script that are
# in it, by their hashes, and load nothing else.
use strict;
use warnings;
use Digest::SHA qw (sha256_base64);

my ($name) = @ARGV;
open my $in, '<:raw', $name or die "$name: $!\n";
my $page = do { local $/; <$in> };

# The hash of the only element of KIND, as a browser computes it.
sub hash_of
{
  my ($kind) = @_;
  my @found = $page =~ m{<$kind>(.*?)</$kind>}gs;
  die "$name: there must be one <$kind>\n" unless @found == 1;
  my $hash = sha256_base64 ($found[0]);
  $hash .= '=' while length ($hash) % 4;
  return "'sha256-$hash'";
}

my ($style, $script) = (hash_of ('style'), hash_of ('script'));
# What the policy would forbid must not stand in it.
for my $bad (' style=', ' onclick=', ' src=', '<link', '@import', 'https:') {
  die "$name: has $bad\n" if index ($page, $bad) >= 0;
}

my @bytes = unpack 'C*', $page;
while (my @line = splice @bytes, 0, 16) {
  # As char, which is signed.
  print join (', ', map { $_ < 128 ? $_ : $_ - 256 } @line), ",\n";
}
print "#define PAGE_POLICY \\\n",
  "  \"default-src 'none'; style-src $style; \" \\\n",
  "  \"script-src $script; \" \\\n",
  "  \"connect-src 'self'; img-src data:; base-uri 'none'; \" \\\n",
  "  \"form-action 'none'; frame-ancestors 'none'\"\n";
