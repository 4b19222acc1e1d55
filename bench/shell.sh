#!/bin/sh
# The peer: an entrypoint as people write it, with the AWS CLI v2 and jq.
#   shell.sh PARAMETER URL LISTENER
set -eu
aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL_SSM" --output json ssm "$@"; }

ACTIONS_RUNNER_INPUT_TOKEN=$(aws get-parameter --name "$1" --with-decryption | jq -r .Parameter.Value)
export ACTIONS_RUNNER_INPUT_TOKEN
aws delete-parameter --name "$1"
exec "$3" configure --unattended --ephemeral --disableupdate --url "$2"
