#!/usr/bin/env bash
# What CI does with a campaign: plan a change, tell the reviewer, run what was approved. GitHub and GitLab call this file.
#
#   ci.sh plan      plan against SJ_BASE into SJ_PLAN, SJ_REPORT and the step summary; sets the outputs
#   ci.sh chosen    fail with 9 where a selection that differs from SJ_BASE lacks a choice, by the policy of SJ_BASE
#   ci.sh comment   put SJ_REPORT into the pull request as one comment, found again by its marker
#   ci.sh run       carry out SJ_PLAN if its digest is SJ_EXPECT; commits and pushes the record, whatever happens
#
# Everything comes in through the environment and is quoted: a prompt, a branch or a file name is never part of a command.
#
#   SJ_BASE     the revision to compare with
#   SJ_JOBS     job files, one per line; without it every job that the change concerns
#   SJ_POLICY   a policy file, instead of the base's policy.yaml
#   SJ_PLAN     the saved plan                                (seedream-plan.json)
#   SJ_REPORT   the plan as Markdown                          (seedream-plan.md)
#   SJ_SHEETS   the folder of what changed in the images       (seedream-compare)
#   SJ_SHEETS_URL  where a later step puts that folder: the comment shows the sheets then, and links to the page in it
#   SJ_PAGE_URL    where SJ_SHEETS/page can be opened in a browser, if that is another address
#   SJ_EXPECT   run: the digest that was approved
#   SJ_BRANCH   run: the branch that keeps the record
#   SJ_ARGS     run: further options, one per line            (such as --emulator)
#   SJ_ALLOW_MANIFEST_ADDITIONS plan: "true" where records were written by hand or by a run on the branch
#   SJ_CODE_QUALITY, SJ_DOTENV  plan: files for GitLab's reports; without them none are written
#   SJ_PYTHON   the Python that has seedream-jobs          (that of the environment which this script lies in)
#   SJ_RESUME   run: "true" to go on with a run that died, once its journal is brought in (docs/ci.md)
set -euo pipefail

: "${SJ_PLAN:=seedream-plan.json}" "${SJ_REPORT:=seedream-plan.md}" "${SJ_SHEETS:=seedream-compare}"
mark=.seedream-started
# Python sees nothing of the checkout, whose modules are anybody's (-I): that of the environment this script lies in.
: "${SJ_PYTHON:=${BASH_SOURCE[0]%/lib/python*}/bin/python}"
[[ -x $SJ_PYTHON ]] || SJ_PYTHON=python3
# Of all that is started here only the run gets the key.
sj_key=${APIMART_API_KEY:-}
unset APIMART_API_KEY
# Nor does anything but the run and the look at its stores get what opens those. What CI defines as empty is not there.
declare -A sj_stores=()
for name in $(compgen -A export); do
  [[ $name =~ ^(AWS|AZURE|GOOGLE|PG)[A-Z0-9_]*$ ]] || continue
  [[ -z ${!name} ]] || sj_stores[$name]=${!name}
  unset "$name"
done
quiet='[skip ci]' # what run itself commits is no change to be planned

seedream() { "$SJ_PYTHON" -I -m seedream_jobs "$@"; }

# Python with what opens the stores; in the place of the shell that calls it.
with_stores() {
  local name
  for name in "${!sj_stores[@]}"; do export "$name=${sj_stores[$name]}"; done
  exec "$SJ_PYTHON" -I -m "$@"
}

say() { printf '%s\n' "$*" >&2; }

die() { # EXIT-CODE LINE…
  local code=$1
  shift
  say "error: $*"
  exit "$code"
}

# Lines of a variable as words of the array named first.
lines_of() {
  local -n into=$1
  local line
  into=()
  while IFS= read -r line; do
    [[ -z ${line//[[:space:]]/} ]] || into+=("$line")
  done <<<"${2:-}"
}

# FILE: one of this script's own, made anew. A change may have put a link there, or in the place of its folder.
own_file() {
  local folder
  [[ -n $1 ]] || return 0
  rm -f -- "$1"
  [[ $1 != /* ]] || return 0
  folder=$(cd -P -- "$(dirname -- "$1")" && pwd -P) || die 2 "the folder of $1 is not there"
  [[ $folder/ == "$(pwd -P)"/* ]] || die 1 "$1 leads out of the checkout by a symbolic link"
}

# NAME VALUE: an output of the step. Only what looks like a number or a digest is let through.
output() {
  [[ $2 =~ ^[A-Za-z0-9:._-]{0,100}$ ]] || die 70 "the plan's $1 is not what it should be"
  if [[ -n ${GITHUB_OUTPUT:-} ]]; then printf '%s=%s\n' "$1" "$2" >>"$GITHUB_OUTPUT"; fi
  if [[ -n ${SJ_DOTENV:-} ]]; then printf 'SEEDREAM_%s=%s\n' "${1^^}" "$2" >>"$SJ_DOTENV"; fi
}

outputs() {
  local name value
  while IFS=' ' read -r name value; do
    output "$name" "$value"
  done < <("$SJ_PYTHON" -I - "$SJ_PLAN" <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    plan = json.load(file)
print("requests", plan["requests_to_submit"])
print("images", plan["max_images"])
print("max_usd", plan["max_usd"] if plan["max_usd"] is not None else "unknown")
print("digest", plan["digest"])
PYTHON
  )
}

every_job() { git grep -lz -E --all-match -e '^version *:' -e '^request *:' -- '*.yaml' '*.yml'; }

# What lies in other job files and was never submitted: a run that was refused, cancelled or failed leaves it outside the
# next change, and nobody would miss it.
left_out() {
  local others
  mapfile -d '' -t others < <(every_job)
  [[ ${#others[@]} -gt 0 ]] || return 0
  seedream plan --format json -- "${others[@]}" 2>/dev/null | "$SJ_PYTHON" -I -c '
import json
import sys

from seedream_jobs.report.markdown import code

with open(sys.argv[1], encoding="utf-8") as file:
    planned = {job["path"] for job in json.load(file)["jobs"]}
left = [(job["path"], job["requests_to_submit"]) for job in json.load(sys.stdin)["jobs"] if job["path"] not in planned]
lines = ["- %s: %d" % (code(path, 200), count) for path, count in left if count]
if lines:
    print("\n**Merged before, not submitted so far, and not in this plan** (requests):\n")
    print("\n".join(lines[:20] + ["- and %d more files" % (len(lines) - 20)] * (len(lines) > 20)))
' "$SJ_PLAN" || true # a mistake in one of them is told by the change that makes it
}

# Where a branch may bring records along, its images were made before the merge: what changed in them goes into the folder
# SJ_SHEETS, and behind the plan if a comment has room for both. CI has the images that are in git, and no others.
pictures() {
  local record job jobs=() shown=() where='the artifacts'
  [[ ${SJ_ALLOW_MANIFEST_ADDITIONS:-} == true && ! $SJ_BASE =~ ^0+$ ]] || return 0
  while IFS= read -r -d '' record; do
    for job in "${record%.manifest.jsonl}".{yaml,yml}; do
      [[ ! -f $job || -L $job ]] || jobs+=("$job")
    done
  done < <(git diff --name-only --no-renames -z "$SJ_BASE...HEAD" -- '*.manifest.jsonl')
  [[ ${#jobs[@]} -gt 0 ]] || return 0
  rm -rf -- "$SJ_SHEETS"
  mkdir -- "$SJ_SHEETS"
  [[ -z ${SJ_SHEETS_URL:-} ]] || shown=(--sheets-url "$SJ_SHEETS_URL")
  : "${SJ_PAGE_URL:=${SJ_SHEETS_URL:+$SJ_SHEETS_URL/page}}"
  [[ -z $SJ_PAGE_URL ]] || shown+=(--page-url "$SJ_PAGE_URL")
  seedream compare --base "$SJ_BASE" --head HEAD --sheets "$SJ_SHEETS" --page "$SJ_SHEETS/page" "${shown[@]}" \
    --format markdown -- "${jobs[@]}" >"$SJ_SHEETS/compare.md" || return 0 # the log says why; the plan is not held up
  [[ -z ${GITHUB_RUN_ID:-} ]] ||
    where="[the artifacts]($GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID#artifacts)"
  if [[ $(cat -- "$SJ_REPORT" "$SJ_SHEETS/compare.md" | wc -c) -lt 59700 ]]; then
    printf '\n' | cat -- - "$SJ_SHEETS/compare.md" >>"$SJ_REPORT"
    [[ -n ${SJ_SHEETS_URL:-} || -z $(find "$SJ_SHEETS" -name '*.webp' -print -quit) ]] ||
      printf '\nThe contact sheets and the page are among %s.\n' "$where" >>"$SJ_REPORT"
  else
    printf '\nWhat changed in the images: `compare.md`, the contact sheets and `page/index.html` are among %s.\n' "$where" >>"$SJ_REPORT"
  fi
}

plan() {
  local jobs args file status=0
  [[ -n ${SJ_BASE:-} ]] || die 2 "SJ_BASE names no revision to compare with"
  lines_of jobs "${SJ_JOBS:-}"
  args=()
  if [[ $SJ_BASE =~ ^0+$ ]]; then # the first push of a branch: there is nothing before it, so every job is new
    [[ ${#jobs[@]} -gt 0 ]] || mapfile -d '' -t jobs < <(every_job)
  else
    args+=(--base "$SJ_BASE")
  fi
  [[ -z ${SJ_POLICY:-} ]] || args+=(--policy "$SJ_POLICY")
  for file in "$SJ_PLAN" "$SJ_REPORT" "${SJ_CODE_QUALITY:-}" "${SJ_DOTENV:-}"; do own_file "$file"; done
  [[ ${SJ_ALLOW_MANIFEST_ADDITIONS:-} != true ]] || args+=(--allow-manifest-additions)
  seedream plan "${args[@]}" --output "$SJ_PLAN" --format markdown -- "${jobs[@]}" >"$SJ_REPORT" || status=$?
  if [[ -f $SJ_PLAN ]]; then
    outputs
    left_out >>"$SJ_REPORT"
    pictures
    if [[ -n ${GITHUB_ACTIONS:-} ]]; then seedream show "$SJ_PLAN" --format github; fi
    if [[ -n ${SJ_CODE_QUALITY:-} ]]; then seedream show "$SJ_PLAN" --format gitlab >"$SJ_CODE_QUALITY"; fi
  elif [[ -s $SJ_REPORT ]]; then # findings: at their lines where the forge can show them there, and in the log
    if [[ -n ${GITHUB_ACTIONS:-} ]]; then seedream plan "${args[@]}" --format github -- "${jobs[@]}" || true; fi
    if [[ -n ${SJ_CODE_QUALITY:-} ]]; then
      seedream plan "${args[@]}" --format gitlab -- "${jobs[@]}" >"$SJ_CODE_QUALITY" || true
    fi
    seedream plan "${args[@]}" -- "${jobs[@]}" >/dev/null || true
  fi
  if [[ ! -s $SJ_REPORT ]]; then
    printf '%s\n### There is no plan\n\nThe log of this job says why.\n' \
      '<!-- seedream-jobs: plan -->' >"$SJ_REPORT"
  fi
  if [[ -n ${GITHUB_STEP_SUMMARY:-} ]]; then cat -- "$SJ_REPORT" >>"$GITHUB_STEP_SUMMARY"; fi
  return "$status"
}

# The jobs among all, each ended by a NUL, whose selections are named in the arguments.
jobs_of() {
  every_job | "$SJ_PYTHON" -I -c '
import os
import sys
from pathlib import Path

from seedream_jobs.errors import SeedreamError
from seedream_jobs.job.spec import name_of
from seedream_jobs.job.yaml_reader import parse, read_named

wanted = {Path(name).stem for name in sys.argv[1:]}
for name in filter(None, sys.stdin.buffer.read().split(b"\0")):
    job = os.fsdecode(name)
    try:
        data = parse(read_named(Path(job), job), job).data
    except SeedreamError:
        continue  # the plan says what is wrong with it
    if name_of(data, job) in wanted:
        sys.stdout.buffer.write(name + b"\0")
' "$@"
}

# Only a change of a selection is held against its rules: images are chosen after the change that asks for them.
chosen() {
  local changed jobs args found policy status=0
  [[ -n ${SJ_BASE:-} ]] || die 2 "SJ_BASE names no revision to compare with"
  changed=()
  if [[ ! $SJ_BASE =~ ^0+$ ]]; then
    mapfile -d '' -t changed < <(git diff-tree -r -z --name-only --no-renames --diff-filter=d "$SJ_BASE" HEAD -- selections)
  fi
  if [[ ${#changed[@]} -eq 0 ]]; then
    say "no selection differs from the base"
    return 0
  fi
  mapfile -d '' -t jobs < <(jobs_of "${changed[@]}")
  [[ ${#jobs[@]} -gt 0 ]] || die 9 "no job has the name of a selection that was changed"
  found=$(mktemp) policy=$(mktemp)
  git cat-file blob "$SJ_BASE:policy.yaml" >"$policy" 2>/dev/null || printf 'version: 1\n' >"$policy"
  args=(--offline --require-chosen --policy "${SJ_POLICY:-$policy}")
  seedream status "${args[@]}" --format json -- "${jobs[@]}" >"$found" || status=$?
  if [[ -n ${GITHUB_ACTIONS:-} ]]; then seedream status "${args[@]}" --format github -- "${jobs[@]}" || true; fi
  if [[ -n ${GITHUB_STEP_SUMMARY:-} ]]; then
    seedream status "${args[@]}" --format markdown -- "${jobs[@]}" >>"$GITHUB_STEP_SUMMARY" 2>/dev/null || true
  fi
  # A record's own matters (a failed request, links not fetched) are no matter of the selection.
  "$SJ_PYTHON" -I - "$found" "${#jobs[@]}" "$status" <<'PYTHON' || status=$?
import json
import sys

file, jobs, status = sys.argv[1:]
try:
    with open(file, encoding="utf-8") as text:
        found = json.load(text)
except ValueError:
    sys.exit(int(status) or 70)
lacking = [(job["job"], one) for job in found for one in job.get("to_choose", ())]
for job, one in lacking:
    print("%s: %s: %s" % (job, one["group"], one["why"]))
sys.exit(9 if lacking or len(found) < int(jobs) else 42)
PYTHON
  rm -f -- "$found" "$policy"
  [[ $status -ne 42 ]] || status=0
  return "$status"
}

comment() {
  local repository=${GITHUB_REPOSITORY:?} number=${SJ_PULL_REQUEST:?} known
  [[ $number =~ ^[0-9]+$ ]] || die 2 "SJ_PULL_REQUEST is no number"
  # sed reads to the end: head would leave gh writing to nobody, and pipefail would end the step
  known=$(gh api --paginate "repos/$repository/issues/$number/comments" \
    --jq '.[] | select(.user.type == "Bot" and (.body | startswith("<!-- seedream-jobs: plan -->"))) | .id' | sed -n 1p)
  if [[ $known =~ ^[0-9]+$ ]]; then
    gh api --silent --method PATCH "repos/$repository/issues/comments/$known" -F "body=@$SJ_REPORT"
  else
    gh api --silent --method POST "repos/$repository/issues/$number/comments" -F "body=@$SJ_REPORT"
  fi
}

# Push what is committed; fast-forward only, never forced.
push() { git push --quiet origin "HEAD:refs/heads/$SJ_BRANCH"; }

# git under the name that commits here.
as_author() { git -c user.name="${SJ_NAME:-seedream-jobs}" -c user.email="${SJ_EMAIL:-seedream-jobs@users.noreply.github.com}" "$@"; }

commit() { as_author commit --quiet "$@"; }

# Of two runners one gets the lock, a ref in the remote; it is held until the record is on the branch, so that nobody pays
# from an older one. A rehearsal pays nothing.
locked=
lock() {
  [[ " ${args[*]} " != *" --emulator "* ]] || return 0
  seedream shared lock origin >&2
  trap unlock EXIT
  locked=$(cat -- "$(git rev-parse --git-common-dir)/seedream-jobs/git-lock")
}

unlock() {
  trap - EXIT
  [[ -z $locked ]] || seedream shared unlock origin >&2 || true # its message says how a person removes it
}

# What the stores of the policy need and is not there: their clients, by the hashes of the package's lock, and the race.
stores() {
  local needed what file
  [[ " ${args[*]} " != *" --emulator "* ]] || return 0
  needed=$(with_stores seedream_jobs.scaffold --stores)
  while read -r what file; do
    case $what in
      install) env -u SEEDREAM_PUSH_TOKEN "$SJ_PYTHON" -I -m pip install --quiet --require-hashes -r "$file" </dev/null >&2 ;;
      check) (with_stores seedream_jobs doctor --shared) </dev/null >&2 ;;
    esac
  done <<<"$needed"
}

# Before anything is spent: the next runner must see that this plan was started, even if this one dies.
start() {
  if [[ -e $mark || -L $mark ]]; then
    say "$mark says: $(head -c 200 -- "$mark" | tr -cd 'A-Za-z0-9:/._ -')"
    if [[ ${SJ_RESUME:-} != true ]]; then
      say "A run started and left no record of how it ended: what it submitted may be paid and is not in the manifest."
      say "Bring in the journal from its artifact (seedream-jobs resolve JOB --journal FILE) and run again with resume: docs/ci.md"
      die 6 "an earlier run is unsettled"
    fi
    [[ $(head -n 1 -- "$mark") == "plan $SJ_EXPECT started" ]] || die 7 "the run that died was of another plan"
    locked=$(sed -n 's/^lock \([0-9a-f]\{40,64\}\)$/\1/p' -- "$mark" | sed -n 1p)
    [[ -z $locked ]] || git push --quiet "--force-with-lease=refs/seedream-jobs/lock:$locked" origin :refs/seedream-jobs/lock || true
    lock
    return
  fi
  lock
  printf 'plan %s started\n%s\nlock %s\n' "$SJ_EXPECT" "${SJ_RUN_URL:-}" "$locked" >"$mark"
  git add -- "$mark"
  commit --message "plan $SJ_EXPECT started" --message "$quiet"
  push || die 7 "the branch has moved on, or may not be pushed to: plan again. Nothing was submitted"
}

# The records of the plan's jobs, each ended by a NUL: those that lie here, and with "paid" also those that must be
# there once something was submitted. With "journals" the journals that belong to them and are not folded. A rehearsal's
# are in no commit.
records() {
  "$SJ_PYTHON" -I - "$SJ_PLAN" "${1:-}" "$(git rev-parse --git-common-dir)/seedream-jobs" <<'PYTHON'
import json
import os
import sys

_, plan, wanted, shared = sys.argv
with open(plan, encoding="utf-8") as file:
    plan = json.load(file)
for job in plan["jobs"] if plan["origin"] != "emulator" else ():
    record, ids = job["record"], {job["manifest"]}
    there = os.path.isfile(record)
    if wanted == "journals":
        with open(record if there else os.devnull, "rb") as lines:
            for line in lines:
                if b'"format":' in line and b'"state":' not in line:  # two branches' headers may have been merged
                    header = json.loads(line)
                    ids.update([header["id"], *header.get("other_ids", [])])
        found = [os.path.join(shared, "%s.journal" % one) for one in ids if one]
        found = [one for one in found if os.path.isfile(one)]
    else:
        needed = there or (wanted == "paid" and job["requests_to_submit"])
        real = os.path.relpath(os.path.realpath(record))
        found = [real] if needed else []
        folder = real[: -len(".jsonl")]  # of a split record
        if needed and os.path.isdir(folder):
            found += sorted(os.path.join(folder, one) for one in os.listdir(folder) if one.endswith((".jsonl", ".gitattributes")))
    sys.stdout.buffer.write(b"".join(os.fsencode(one) + b"\0" for one in found))
PYTHON
}

# REVISION [paid]: whether it has every record as it lies here, byte for byte.
recorded() {
  local record
  while IFS= read -r -d '' record; do
    git cat-file blob "$1:$record" 2>/dev/null | cmp --silent - "$record" || return 1
  done < <(records "${2:-}")
}

# STATUS of the run. Afterwards, whatever happened: manifests go back to the branch; the mark goes only if no journal of
# this plan's records is left behind, and the records are in the commit, also where a line of .gitignore would keep them
# out. It ends well only once the records were seen on the branch itself.
finish() {
  local journals try paid=
  [[ $1 -ne 0 ]] || paid=paid
  journals=$(records journals | tr '\0' '\n') || journals=unknown
  git add --all -- '*.manifest.jsonl' 2>/dev/null || true
  git add --all -- '*.manifest/*.jsonl' 2>/dev/null || true # parts of split ones
  records | git --literal-pathspecs add --force --pathspec-from-file=- --pathspec-file-nul || true
  if [[ -z $journals ]]; then git rm --quiet --force --ignore-unmatch -- "$mark"; fi
  git diff --cached --quiet || commit --message "plan $SJ_EXPECT: the record" --message "$quiet"
  if ! recorded HEAD "$paid"; then
    say "error: the record is not in the commit: docs/ci.md. Commit it before anything else is run."
    return 8
  fi
  for try in 1 2 3 4 5; do
    if push && git fetch --quiet origin "refs/heads/$SJ_BRANCH"; then
      recorded FETCH_HEAD "$paid" && return 0
      say "error: the record on the branch is not the one that lies here. Merge the two before anything else is run."
      return 8
    fi
    git fetch --quiet origin "refs/heads/$SJ_BRANCH" || true
    as_author merge --quiet --no-edit FETCH_HEAD || git merge --abort || true
    sleep "$try"
  done
  say "error: the record could not be pushed. It is in the artifact: commit it before anything else is run."
  return 8
}

run() {
  local args status=0 recorded=0 child
  [[ ${SJ_EXPECT:-} =~ ^sha256:[0-9a-f]{64}$ ]] || die 2 "SJ_EXPECT is no approved digest"
  [[ -n ${SJ_BRANCH:-} ]] || die 2 "SJ_BRANCH names no branch"
  git check-ref-format "refs/heads/$SJ_BRANCH" || die 2 "SJ_BRANCH is no branch"
  [[ -f $SJ_PLAN ]] || die 2 "there is no plan $SJ_PLAN"
  lines_of args "${SJ_ARGS:-}"
  own_file "${SJ_DOTENV:-}"
  stores
  start
  trap - EXIT # from here on it may have paid, and the lock stays until that is on the branch
  # In the background with a trap: a cancelled job signals this shell only, and the process must get to write its record.
  APIMART_API_KEY=$sj_key with_stores seedream_jobs run "$SJ_PLAN" --expect "$SJ_EXPECT" --yes "${args[@]}" &
  child=$!
  trap 'kill -TERM "$child" 2>/dev/null || true' TERM INT HUP
  while true; do
    status=0
    wait "$child" || status=$?
    kill -0 "$child" 2>/dev/null || break
  done
  trap '' TERM INT HUP
  finish "$status" || recorded=$?
  [[ $recorded -ne 0 ]] || unlock
  [[ $status -ne 0 ]] || status=$recorded
  output status "$status"
  return "$status"
}

((BASH_VERSINFO[0] >= 5)) || die 2 "this script needs bash 5 or later"
case ${1:-} in
  plan | chosen | comment | run) "$1" ;;
  *) die 2 "usage: ci.sh plan|chosen|comment|run" ;;
esac
