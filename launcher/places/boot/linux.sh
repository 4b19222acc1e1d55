# The machine takes one job and ends, whatever happens. This text is run by cloud-init, installs
# itself as a systemd unit, and is what that unit runs. All machines of a pool have the same.
#
#   (nothing)  install the units and start them
#   run        become the agent
#   end        say on the console how the agent has ended, and power off
set -eu

own=/opt/runner-machine
state=/var/lib/runner-machine
units=/etc/systemd/system
venv=/opt/runner-sidecar
imds=http://169.254.169.254/latest
PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin

say() {
    echo "runner-machine: $*"
}

fail() {
    say "cannot start the agent: $*"
    exit 1
}

power_off() {
    sync
    systemctl --no-block poweroff || poweroff -f || echo o >/proc/sysrq-trigger
}

# ---- installed by cloud-init ---------------------------------------------------------------------

write_units() {
    cat >$units/runner-machine-limit.service <<END
[Unit]
Description=End this machine: its time is over
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo "runner-machine: its time is over: $LIMIT s" >/dev/console; exec systemctl poweroff --force'
FailureAction=poweroff-immediate
END
    cat >$units/runner-machine-limit.timer <<END
[Unit]
Description=The longest life of this machine
[Timer]
OnActiveSec=$LIMIT
AccuracySec=1s
[Install]
WantedBy=timers.target
END
    cat >$units/runner-machine.service <<END
[Unit]
Description=The runner of this machine, for one job
Wants=network-online.target
After=network-online.target docker.service
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Environment=SIDECAR_STOP_TIMEOUT=100
EnvironmentFile=-/etc/runner-sidecar.env
ExecStart=$own/machine run
ExecStopPost=$own/machine end
Restart=no
RuntimeMaxSec=$((LIMIT - 300))
TimeoutStopSec=120
KillMode=mixed
OOMPolicy=continue
StandardOutput=journal+console
StandardError=journal+console
[Install]
WantedBy=multi-user.target
END
}

# Nothing that fails here may leave a machine that runs for nothing.
leave() {
    if [ "$1" -ne 0 ]; then
        say "cannot install the units: exit code $1"
        power_off
    fi
}

install_units() {
    trap 'leave $?' EXIT
    if [ -w /dev/console ]; then
        exec >/dev/console 2>&1
    fi
    say "begins: agent from $AGENT, $LIMIT s at most"
    mkdir -p $own $state
    if [ ! -e $own/machine ]; then
        cp "$0" $own/.new
        chmod 0755 $own/.new
        mv $own/.new $own/machine
    fi
    write_units
    systemctl daemon-reload
    systemctl enable runner-machine-limit.timer runner-machine.service
    systemctl start runner-machine-limit.timer
    systemctl start --no-block runner-machine.service
}

# ---- the unit ------------------------------------------------------------------------------------

metadata() {
    curl -fsS --noproxy '*' --retry 5 --retry-connrefused --max-time 10 \
        -H "X-aws-ec2-metadata-token: $imds_token" "$imds/meta-data/$1"
}

identify() {
    imds_token=$(curl -fsS --noproxy '*' --retry 5 --retry-connrefused --max-time 10 -X PUT \
        -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$imds/api/token") ||
        fail "no answer from the instance metadata service"
    instance=$(metadata instance-id) || fail "the metadata name no instance"
    AWS_REGION=$(metadata placement/region) || fail "the metadata name no region"
    SIDECAR_PLATFORM=ec2
    SIDECAR_TOKEN_PARAMETER=$PARAMETER_PREFIX/$instance
    export AWS_REGION SIDECAR_PLATFORM SIDECAR_TOKEN_PARAMETER
    # Of two machines of a pool one may wait longer for a job: its tag says so.
    if idle=$(metadata tags/instance/runner-launcher:idle-limit 2>/dev/null); then
        case $idle in
            '' | *[!0-9]*) say "its tag runner-launcher:idle-limit is no number" ;;
            *)
                SIDECAR_IDLE_LIMIT=$idle
                export SIDECAR_IDLE_LIMIT
                ;;
        esac
    fi
}

try() { # Try a command three times: a new machine's network may come late.
    for pause in 5 15 ''; do
        "$@" && return
        [ -z "$pause" ] || sleep "$pause"
    done
    return 1
}

begin() { # Become the agent.
    touch $state/started
    exec "$@"
}

run_image() {
    for each in runner-sidecar $venv/bin/runner-sidecar; do
        if found=$(command -v "$each"); then
            begin "$found" run
        fi
    done
    fail "the machine's image has no runner-sidecar; set agent_image or agent_requirements"
}

log_in() { # A registry of ECR gives passwords for some hours, to the machine's own role.
    case $AGENT_SOURCE in
        *.dkr.ecr.*)
            if command -v aws >/dev/null; then
                aws ecr get-login-password --region "$AWS_REGION" |
                    docker login --username AWS --password-stdin "${AGENT_SOURCE%%/*}" >/dev/null
            fi
            ;;
    esac
}

run_docker() {
    command -v docker >/dev/null || fail "the machine's image has no docker (agent_image)"
    systemctl start docker || :
    try log_in || say "cannot log in to the registry of $AGENT_SOURCE"
    docker image inspect "$AGENT_SOURCE" >/dev/null 2>&1 || try docker pull --quiet "$AGENT_SOURCE" ||
        fail "docker cannot pull $AGENT_SOURCE (agent_image)"
    set --
    for name in $(env | sed -nE 's/^(SIDECAR_[A-Z0-9_]*|AWS_REGION)=.*/\1/p'); do
        set -- "$@" --env "$name"
    done
    # The network of the machine: its metadata answer nobody who is further away.
    begin docker run --rm --name runner --network host "$@" "$AGENT_SOURCE"
}

fetch() {
    case $AGENT_SOURCE in
        s3://*) aws s3 cp --only-show-errors "$AGENT_SOURCE" "$1" ;;
        *) curl -fsSL --max-time 120 --proto =https -o "$1" "$AGENT_SOURCE" ;;
    esac
}

find_python() {
    for each in python3.14 python3.13 python3.12 python3.11 python3; do
        if "$each" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
            echo "$each"
            return
        fi
    done
    return 1
}

run_wheel() {
    listed=$state/requirements.txt
    python=$(find_python) || fail "the machine's image has no Python 3.11 to 3.14 with venv"
    try fetch "$listed" || fail "cannot get $AGENT_SOURCE (agent_requirements)"
    echo "$AGENT_SHA256  $listed" | sha256sum -c - >/dev/null ||
        fail "$AGENT_SOURCE is not what agent_requirements_sha256 says"
    "$python" -m venv $venv || fail "cannot make a virtual environment"
    try $venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --requirement "$listed" || fail "cannot install what $AGENT_SOURCE lists"
    begin $venv/bin/runner-sidecar run
}

run_agent() {
    if ! mkdir $state/begun 2>/dev/null; then
        fail "this machine has run before, and takes one job only"
    fi
    identify
    case $AGENT in
        image) run_image ;;
        docker) run_docker ;;
        wheel) run_wheel ;;
    esac
}

end() {
    if [ ! -e $state/started ]; then
        say "the agent was never started"
    elif [ "${EXIT_CODE:-}" = exited ]; then
        say "the agent has ended with exit code ${EXIT_STATUS:-}"
    else
        say "the agent was ended by the signal ${EXIT_STATUS:-}"
    fi
    power_off
}

case ${1:-} in
    run) run_agent ;;
    end) end ;;
    *) install_units ;;
esac
