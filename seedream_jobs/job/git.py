"""This module runs git: nothing else in the program starts it.

Called by whatever asks git about a campaign's repository. Invariant: but for ``push_git``, which an operator asks for,
git is asked what is stored (objects, the index, ignore rules), never to do anything, and neither a repository's files
nor its configuration have it run a program.

A hostile tree or an unpacked archive may bring its own ``.git/config``, attributes and hooks. So only commands that
need none of them are called (``cat-file``, ``ls-tree``, ``ls-files``, ``diff-tree``, ``rev-list``, ``rev-parse``,
``check-ignore``, ``check-attr``, and ``read-tree`` into a file of our own): no command that compares the work tree, as
that runs filters. An alias never replaces one of these. What they could still run is switched off below, and git gets
an environment of its own: the key, tokens and what a hook was given stay here.
"""

from __future__ import annotations

import os
import shlex
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from seedream_jobs.errors import UsageError
from seedream_jobs.job.files import campaign_root

if TYPE_CHECKING:
    from subprocess import CompletedProcess, Popen

SECONDS = 120.0
"""How long one question may take."""

_KEPT = (
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "HOME",
    "SYSTEMROOT",
    "USERPROFILE",
    "XDG_CONFIG_HOME",
)
"""What git gets of our environment: where the operator's own configuration is, which says whom git trusts
(``safe.directory``) and what is ignored everywhere."""

_OWN = {
    "LANG": "C",
    "LC_ALL": "C",
    "GIT_ALLOW_PROTOCOL": "",  # no download of missing objects; of ``protocol.*`` a repository may have its own
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",  # a repository's refs/replace would show another object under a name
    "GIT_OPTIONAL_LOCKS": "0",  # else git writes a refreshed index
    "GIT_TERMINAL_PROMPT": "0",
}

_SETTINGS = {
    "core.attributesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "core.quotePath": "false",
    "core.sshCommand": "false",
    "core.untrackedCache": "false",
    "credential.helper": "",
    "diff.external": "",
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",  # a folder that looks like a repository is data of the tree
    "submodule.recurse": "false",
}
"""Given on the command line, which comes before what a repository's own configuration says."""


def git_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What git is given of an environment: by a list of names, so that no secret comes along, now or later."""
    found = {name: environment[name] for name in _KEPT if name in environment}
    return {**found, **_OWN, "PATH": _places(environment)}


def start_git(folder: Path, *words: str) -> Popen[bytes]:
    """Start git in a folder, to be asked through its standard input; what it complains of is dropped.

    :raises UsageError: there is no git
    """
    return _start(folder, words, stdin=True, complaints=False)


@contextmanager
def ended_after(seconds: float, process: Popen[bytes]) -> Iterator[None]:
    """End a process that is still at work after so many seconds: whoever reads from it reads no more."""
    late = threading.Timer(seconds, process.kill)
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()


def run_git(
    folder: Path, *words: str, stdin: bytes | None = None, index: Path | None = None
) -> CompletedProcess[bytes]:
    """Ask git one question in a folder; its exit code is the caller's to judge.

    :param words: the command; what a person or a file named stands behind ``--`` or ``--end-of-options``
    :param index: a file in place of the repository's own index
    :raises UsageError: there is no git, or it does not end
    """
    return _ended(_start(folder, words, stdin=stdin is not None, complaints=True, index=index), folder, words, stdin)


def _ended(process: Popen[bytes], folder: Path, words: Sequence[str], stdin: bytes | None) -> CompletedProcess[bytes]:
    import subprocess  # hardly ever needed

    with process:
        try:
            out, err = process.communicate(stdin, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise UsageError(f"git {words[0]} did not end within {SECONDS:g} s", hint=f"try it in {folder}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


_REMOTE = ("GIT_ASKPASS", "GIT_CONFIG_", "GIT_SSH", "SSH_", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
"""What git gets beside that where it speaks to a remote: how a name of these beginnings says who the operator is."""


def push_git(folder: Path, *words: str, stdin: bytes | None = None) -> CompletedProcess[bytes]:
    """Have git make a commit, or speak to a remote, with the operator's credentials; its exit code is the caller's to
    judge. No hook is run.

    Only for what an operator asked for: unlike a question it obeys what the repository's configuration says of remotes.

    :raises UsageError: there is no git, or it does not end
    """
    mine = {name: value for name, value in os.environ.items() if name.startswith(_REMOTE)}
    author = {f"GIT_{who}_{what}": "seedream-jobs" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    own = {name: _OWN[name] for name in ("LANG", "LC_ALL", "GIT_OPTIONAL_LOCKS", "GIT_TERMINAL_PROMPT")}
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment = {**kept, **mine, **author, **own, "PATH": _places(os.environ)}
    settings = {"core.hooksPath": os.devnull, "core.fsmonitor": "false"}
    process = _started(folder, words, settings.items(), environment, stdin=stdin is not None, complaints=True)
    return _ended(process, folder, words, stdin)


def _start(
    folder: Path, words: Sequence[str], *, stdin: bool, complaints: bool, index: Path | None = None
) -> Popen[bytes]:
    settings = [*_SETTINGS.items(), *(("safe.directory", one) for one in _trusted(os.environ))]
    environment = {**git_environment(os.environ), **({} if index is None else {"GIT_INDEX_FILE": str(index)})}
    return _started(folder, words, settings, environment, stdin=stdin, complaints=complaints)


def _started(
    folder: Path,
    words: Sequence[str],
    settings: Iterable[tuple[str, str]],
    environment: Mapping[str, str],
    *,
    stdin: bool,
    complaints: bool,
) -> Popen[bytes]:
    import subprocess

    program = shutil.which("git", path=_places(os.environ))
    # On Windows ``which`` looks in the working folder, too, and returns a relative path for what it finds there.
    if program is None or not Path(program).is_absolute():
        raise UsageError("git is not installed", hint="install git, or see that PATH leads to it")
    command = [program, *(word for name, value in settings for word in ("-c", f"{name}={value}")), *words]
    try:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if complaints else subprocess.DEVNULL,
        )
    except OSError as error:
        raise UsageError(f"git can't be started in {folder}: {error.strerror}", hint="check both") from None


def said(ended: CompletedProcess[bytes]) -> str:
    """Why git failed, in its own words, on one line."""
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ") if lines else f"exit code {ended.returncode}"


def is_tracked(path: Path) -> bool:
    """Whether git has a file in its index, or what a link of this name leads to; False outside a repository.

    In whatever case its name is written there: some file systems do not tell the two apart.

    :raises UsageError: git can't say
    """
    place = Path(os.path.realpath(path.parent), path.name)
    for one in {place, Path(os.path.realpath(path))}:
        top = campaign_root(one)
        if not os.path.lexists(top / ".git"):
            continue
        ended = run_git(top, "ls-files", "-z", "--cached", "--", f":(icase,literal){os.path.relpath(one, top)}")
        if ended.returncode:
            raise UsageError(f"git can't say whether {path} is in its index: {said(ended)}", hint=f"try git in {top}")
        if ended.stdout:
            return True
    return False


def _places(environment: Mapping[str, str]) -> str:
    # A relative place in PATH would be looked for in the campaign, whose git is anybody's program.
    named = environment.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(place for place in named if Path(place).is_absolute())


def _trusted(environment: Mapping[str, str]) -> Iterator[str]:
    """The ``safe.directory`` of whoever called us: ``git -c``, and ``GIT_CONFIG_COUNT`` in containers."""
    count = environment.get("GIT_CONFIG_COUNT", "")
    for number in range(min(int(count), 1000) if count.isascii() and count.isdigit() else 0):
        if environment.get(f"GIT_CONFIG_KEY_{number}", "").lower() == "safe.directory":
            yield environment.get(f"GIT_CONFIG_VALUE_{number}", "")
    try:
        given = shlex.split(environment.get("GIT_CONFIG_PARAMETERS", ""))
    except ValueError:
        return
    for name, _, value in (word.partition("=") for word in given):
        if name.lower() == "safe.directory":
            yield value
