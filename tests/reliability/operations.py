"""What git and people do to a campaign between a killed run and the next one: the rows of docs/reliability.md.

An operation is a shell script in the top folder of a repository whose campaign is in ``c/`` (``job.yaml`` and its
record). It may name another folder to go on in as its last line of output: ``GO: path``.
"""

from __future__ import annotations

OPERATIONS: dict[str, str] = {
    "nothing": "true",
    "git clean -fd": "git clean -qfd",
    "git clean -fdx": "git clean -qfdx",
    "rm of the journal": "rm -f .git/seedream-jobs/*.journal c/*.journal",
    "rm of the locks": "rm -f .git/seedream-jobs/*.lock c/*.lock",
    "rm -rf .git/seedream-jobs": "rm -rf .git/seedream-jobs",
    "rm of the manifest": "rm c/job.manifest.jsonl",
    "the manifest emptied": ": > c/job.manifest.jsonl",
    "rm -rf .seedream": "rm -rf .seedream",
    "git stash": "git stash -q",
    "git stash -u": "git stash -q -u",
    "git stash -u, pop": "git stash -q -u; git stash pop -q || true",
    "git switch -c": "git switch -q -c topic",
    "commit, git switch of another branch": "git add -A c; git commit -qm x; git switch -q elsewhere",
    "commit, switch, switch back": "git add -A c; git commit -qm x; git switch -q elsewhere; git switch -q main",
    "git checkout -f of another branch": "git checkout -q -f elsewhere",
    "git reset --hard": "git reset -q --hard",
    "git restore of the manifest": "git restore c",
    "commit, git reset --hard HEAD~1": "git add -A c; git commit -qm x; git reset -q --hard HEAD~1",
    "commit": "git add -A c; git commit -qm x",
    "commit, amend, git gc": "git add -A c; git commit -qm x; git commit -q --amend -m y; git gc -q --prune=now",
    "commit, git rebase": "git add -A c; git commit -qm x; git rebase -q elsewhere",
    "commit, git merge": "git add -A c; git commit -qm x; git merge -q --no-edit elsewhere",
    "commit, git pull": (
        "git clone -q . ../up; (cd ../up; git config user.name b; git config user.email b@example.org; echo n > n; "
        "git add n; git commit -qm n); git add -A c; git commit -qm x; git pull -q --no-rebase --no-edit ../up main"
    ),
    "commit, git clone": "git add -A c; git commit -qm x; git clone -q . ../clone; echo GO: ../clone",
    "git worktree add": "git worktree add -q ../tree -b tree; echo GO: ../tree",
    "commit, git worktree add": "git add -A c; git commit -qm x; git worktree add -q ../tree -b tree; echo GO: ../tree",
    "git worktree add, git clean in the first": (
        "git worktree add -q ../tree -b tree; git clean -qfdx; git checkout -q .; echo GO: ../tree"
    ),
    "mv of job and manifest into a folder": "mkdir d; mv c/job.yaml c/job.manifest.jsonl d; echo GO: d",
    "git mv of the folder": "git add -A c; git mv c d; echo GO: d",
    "mv of the folder": "mv c d; echo GO: d",
    "job and manifest renamed": "cd c; mv job.yaml a.yaml; mv job.manifest.jsonl a.manifest.jsonl",
    "the job renamed alone": "mv c/job.yaml c/a.yaml",
    "cp -r of the folder": "cp -r c d; echo GO: d",
    "cp -r of the repository": "cp -r . ../copy; echo GO: ../copy",
    "mv of the repository": "cd ..; mv repo moved; echo GO: ../moved",
    "the folder copied out of git": "cp -r c ../loose; echo GO: ../loose",
    "rm -rf .git": "rm -rf .git",
}
"""Name in the table to what is done."""
