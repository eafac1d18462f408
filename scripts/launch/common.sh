# Sourced by the launch scripts: options, and commands that --dry_run prints instead of running.
#
# Options are --NAME=VALUE and become variables; what follows "--" is for presence_t5x.train.

dry_run=""
stopped_status=75 # of a run that was preempted and saved; "try again" in sysexits.h
train_arguments=()

# parse_options KNOWN_NAME ... -- "$@"
parse_options() {
  local known=" " argument option
  while [ "$1" != "--" ]; do known+="$1 "; shift; done
  shift
  while [ "$#" -gt 0 ]; do
    argument="$1"; shift
    case "$argument" in
      --) train_arguments=("$@"); break ;;
      --dry_run) dry_run=1 ;;
      --help) usage; exit 0 ;;
      --*=*)
        option="${argument#--}"; option="${option%%=*}"
        case "$known" in
          *" $option "*) printf -v "$option" '%s' "${argument#*=}" ;;
          *) fail "unknown option --$option; the options are:$known--dry_run" ;;
        esac ;;
      *) fail "cannot read $argument; options are --NAME=VALUE, training arguments follow --" ;;
    esac
  done
  [ "${#train_arguments[@]}" -gt 0 ] || fail "nothing to train: add -- --gin_file=... --gin.MODEL_DIR=..."
}

# need NAME ...: the options that have no default.
need() {
  local option
  for option in "$@"; do
    [ -n "${!option:-}" ] || fail "--$option=... is missing"
  done
}

fail() {
  echo "error: $*" >&2
  exit 2
}

# run COMMAND ...: prints it in a form that a shell reads again; runs it unless --dry_run.
run() {
  printf '%q ' "$@"; echo
  [ -n "$dry_run" ] || "$@"
}

# train_command PYTHON: the same command for every host, quoted once.
train_command() {
  printf '%q ' "$1" -m presence_t5x.train "--stopped_status=$stopped_status" "${train_arguments[@]}"
}
