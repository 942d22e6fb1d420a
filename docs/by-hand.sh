#!/bin/bash
# A pull from Quay without a password on the host, by hand: docs/by-hand.md explains it.
#
# Usage: by-hand.sh REGISTRY ROBOT ISSUER CLIENT_ID CLIENT_SECRET_FILE
# QUAY=HOST[:PORT] where Quay's exchange is not at REGISTRY; SSL_CERT_FILE for CAs of one's own.
set -euo pipefail
registry=$1 robot=$2 issuer=$3 client_id=$4 client_secret_file=$5
quay=${QUAY:-$registry}

# 1. Where the provider gives tokens
token_endpoint=$(curl --silent --show-error --fail "$issuer/.well-known/openid-configuration" |
    jq -er .token_endpoint)

# 2. An OIDC token, by the client credentials grant
oidc_token=$(printf %s "$(cat "$client_secret_file")" |
    curl --silent --show-error --fail "$token_endpoint" \
        --data grant_type=client_credentials \
        --data-urlencode "client_id=$client_id" \
        --data-urlencode client_secret@- |
    jq -er .access_token)

# 3. The exchange: the OIDC token for a robot token, which lives one hour
robot_token=$(printf 'user = "%s:%s"\n' "$robot" "$oidc_token" |
    curl --silent --show-error --fail --config - "https://$quay/oauth2/federation/robot/token" |
    jq -er .token)

# 4. The robot token for podman, in plain text in its auth.json
printf %s "$robot_token" | podman login --username "$robot" --password-stdin "$registry"
