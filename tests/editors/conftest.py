"""A client of the Language Server Protocol, and the YAML language server that editors use."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from seedream_jobs.resources import resource

VERSION = "1.19.2"
SERVER = "SEEDREAM_TEST_YAML_LANGUAGE_SERVER"
"""Names a server that is installed already (``…/bin/yaml-language-server``), so that npm need not fetch one."""


class Editor:
    """One editor with one window; a document is opened with the modeline that leads to the schema."""

    def __init__(self, server: list[str], folder: Path) -> None:
        self._child = subprocess.Popen([*server, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder)
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._input: BinaryIO = self._child.stdin  # type: ignore[assignment]
        self._output: BinaryIO = self._child.stdout  # type: ignore[assignment]
        self._folder, self._number, self._opened = folder, 0, 0
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.ask("initialize", {"processId": os.getpid(), "rootUri": folder.as_uri(), "capabilities": _CAPABILITIES})
        self._send({"method": "initialized", "params": {}})

    def close(self) -> None:
        self._child.terminate()
        self._child.wait(10)
        self._input.close()
        self._output.close()

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._input.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._input.flush()

    def _listen(self) -> None:
        while True:
            length = 0
            while (line := self._output.readline()).strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if not line:
                self._inbox.put(None)
                return
            self._inbox.put(json.loads(self._output.read(length)))

    def _receive(self) -> dict[str, Any]:
        message = self._inbox.get(timeout=60)
        assert message is not None, "the language server has ended"
        if "method" in message and "id" in message:  # it asks us something: its settings, mostly
            items = message.get("params", {}).get("items", [{}]) if isinstance(message.get("params"), dict) else [{}]
            answer = [_SETTINGS.get(item.get("section", "")) for item in items]
            self._send({"id": message["id"], "result": answer if "configuration" in message["method"] else None})
        return message

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """A request, and its result."""
        self._number += 1
        number = self._number
        self._send({"id": number, "method": method, "params": params})
        while True:
            message = self._receive()
            if message.get("id") == number and "method" not in message:
                assert "error" not in message, message
                return message["result"]

    def open(self, text: str, schema: str = "job") -> tuple[str, list[tuple[str, str]]]:
        """Open a document; its URI, and (what is underlined, the sentence) of each diagnostic."""
        self._opened += 1
        uri = (self._folder / f"job-{self._opened}.yaml").as_uri()
        modeline = f"# yaml-language-server: $schema={resource('schemas', f'{schema}.schema.json').as_uri()}\n"
        text = modeline + text
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        while True:
            message = self._receive()
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == uri:
                lines = text.split("\n")
                return uri, [(_part(lines, one["range"]), one["message"]) for one in message["params"]["diagnostics"]]

    def hover(self, uri: str, line: int, character: int) -> str:
        """What is shown at a place; lines count from the first below the modeline, from 0."""
        found = self.ask("textDocument/hover", _at(uri, line, character))
        return "" if found is None else str(found["contents"]["value"])

    def complete(self, uri: str, line: int, character: int) -> list[str]:
        """What is offered at a place."""
        found = self.ask("textDocument/completion", _at(uri, line, character))
        return [item["label"] for item in (found["items"] if isinstance(found, dict) else found)]


def _at(uri: str, line: int, character: int) -> dict[str, Any]:
    return {"textDocument": {"uri": uri}, "position": {"line": line + 1, "character": character}}


def _part(lines: list[str], where: dict[str, Any]) -> str:
    start, end = where["start"], where["end"]
    if start["line"] != end["line"]:
        return lines[start["line"]][start["character"] :]
    return lines[start["line"]][start["character"] : end["character"]]


_CAPABILITIES = {
    "textDocument": {
        "completion": {"completionItem": {"snippetSupport": True}},
        "hover": {"contentFormat": ["markdown"]},
        "publishDiagnostics": {},
    },
    "workspace": {"configuration": True},
}
_SETTINGS: dict[str, Any] = {
    "yaml": {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False, "url": ""}},
    "http": {},
    "[yaml]": {},
    "editor": {},
    "files": {},
}


@pytest.fixture(scope="session")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    """An editor with the language server from npm; the tests are skipped where it can't be had."""
    folder = tmp_path_factory.mktemp("editor")
    named = os.environ.get(SERVER)
    if named is None:
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            pytest.skip("there is no node with npm")
        package = f"yaml-language-server@{VERSION}"
        install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), package]
        if subprocess.run(install, capture_output=True).returncode:
            pytest.skip("yaml-language-server can't be installed here: no npm registry")
        named = str(folder / "node_modules" / ".bin" / "yaml-language-server")
    opened = Editor([named], folder)
    yield opened
    opened.close()
