# SPDX-License-Identifier: BSD-3-Clause
#
# tls-functions.sh: keys and certificates, made on the spot.  Sourced after
# functions.sh.

# new_psk FILE [NAME]: a file with a new pre-shared key.
new_psk ()
{
  (umask 077
   echo "${2:-duet}:$(od -A n -t x1 -N 32 /dev/urandom | tr -d ' \n')" > "$1")
}

# by_certtool WHAT OUT ARG...: with the template $dir/template.
by_certtool ()
{
  local what=$1 out=$2
  shift 2
  (umask 077
   certtool "--$what" --template="$dir/template" --outfile="$out" "$@" \
     2>> "$dir/certtool.err") || fail "$(tail -n 3 "$dir/certtool.err")"
}

new_key ()
{
  (umask 077
   certtool --generate-privkey --key-type=ecdsa --outfile="$1" \
     2>> "$dir/certtool.err") || fail 'certtool'
}

# new_ca NAME: $dir/NAME.pem and $dir/NAME.key, a certificate authority.
new_ca ()
{
  printf '%s\n' "cn = $1" ca cert_signing_key 'expiration_days = 100' \
    > "$dir/template"
  new_key "$dir/$1.key"
  by_certtool generate-self-signed "$dir/$1.pem" \
    --load-privkey="$dir/$1.key"
}

# new_cert NAME CA LINE...: $dir/NAME.pem and $dir/NAME.key, signed by CA,
# with LINEs for certtool's template.
new_cert ()
{
  local name=$1 ca=$2
  shift 2
  printf '%s\n' "cn = $name" signing_key "$@" > "$dir/template"
  new_key "$dir/$name.key"
  by_certtool generate-certificate "$dir/$name.pem" \
    --load-privkey="$dir/$name.key" --load-ca-certificate="$dir/$ca.pem" \
    --load-ca-privkey="$dir/$ca.key"
}

# A certificate for 127.0.0.1, valid for some days.
here=('ip_address = 127.0.0.1' 'expiration_days = 10')

# x509_of NAME CA: sets x509 to the parameters of a node.
x509_of ()
{
  x509=(tls-ca="$dir/$2.pem" tls-cert="$dir/$1.pem" tls-key="$dir/$1.key")
}
