# ruff: noqa: E501, UP031  (a case is one line, and its braces are YAML's)
"""What bad input gets: one clear line with its place and the next step; never a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.plans.load import Target, load_job, validate_jobs

TARGET = Target(origin="https://api.example", emulator=False)
V = "version: 1\n"
R = V + 'request: {prompt: "{{ a }}"}\nmatrix: '
FILES: dict[str, bytes] = {
    "ok.csv": b"Prompt,n\nx,1\ny,two\n",
    "n.csv": b"n\n1\n",
    "cells.csv": b"a,b\n1,2\n1,2,3\n",
    "quote.csv": b'a\n"open\n',
    "twice.csv": b"a,b,a\n1,2,3\n",
    "head.csv": b"a,b\n",
    "latin.txt": "caf\u00e9\n".encode("latin-1"),
    "empty.txt": b"\n  \n",
    "bad.json": b"[1,\n 2,,]",
    "object.json": b'{"a": 1}',
    "nan.json": b"[NaN]",
    "huge.json": b"[1e999]",
    "twice.json": b'[{"a": 1, "a": 2}]',
    "half.json": b'["\\ud83d"]',
    "bad.jsonl": b'{"a": 1}\n{"a": }\n',
    "deep.json": b"[" * 100_000,
    "bad.yaml": b"- a: 1\n  a: 2\n",
    "map.yaml": b"a: 1\n",
    "list.jsonl": b'{"a": {"b": 1}}\n{"a": null}\n',
    "tool.exe": b"MZ",
}

# fmt: off
# yaml, code, line:column, what the message says, what the hint says
CASES: list[tuple[str, str, str, str, str]] = [
    # templates
    (V + 'request: {prompt: "{{ subjet }}"}\nmatrix: {subject: [x]}', "undefined-name", "2:23", "nothing provides 'subjet'", "did you mean 'subject'?"),
    (V + 'request: {prompt: "{{ x }}"}', "undefined-name", "2:23", "nothing provides 'x'", "known here: none"),
    (R + '{a: [x]}\noutput: {name: "{{ b }}"}', "undefined-name", "4:20", "nothing provides 'b'", "known here: a"),
    (V + 'request: {prompt: x, image_urls: ["{{ r }}.png"]}', "undefined-name", "2:39", "nothing provides 'r'", ""),
    (V + 'request: {prompt: "{{ a | slugg }}"}\nmatrix: {a: [x]}', "template-syntax", "2:27", "unknown filter 'slugg'", "did you mean 'slug'?"),
    (V + 'request: {prompt: "{{ a is od }}"}\nmatrix: {a: [x]}', "template-syntax", "2:28", "unknown test 'od'", "did you mean 'odd'?"),
    (V + 'request: {prompt: "{{ a }"}\nmatrix: {a: [x]}', "template-syntax", "2:20", "unexpected '}'", "every '{{' needs its '}}'"),
    (V + 'request: {prompt: "{% if a %}x"}\nmatrix: {a: [x]}', "template-syntax", "2:20", "unexpected end of template", "its end"),
    (V + "request:\n  prompt: |\n    first\n    {% include 'x' %}\nmatrix: {a: [x]}", "template-syntax", "5:8", "reads no other file", ""),
    (V + "request:\n  prompt: |\n    first {{ a }}\n\n    third {{ aa }} end\nmatrix: {a: [x]}", "undefined-name", "6:14", "'aa'", "did you mean 'a'?"),
    (V + "request:\n  prompt: |\n    one\n    two {{ a.colour }}\nmatrix: {a: [{id: x, color: red}]}", "template-value", "5:14", "the mapping has no field 'colour' (a=x)", ""),
    (V + "request:\n  prompt: |-\n    {% set q = 1 %}\n    {{ a.b.c }}\nmatrix: {a: [{id: x}]}", "template-value", "5:10", "no field 'b'", ""),
    (V + "request:\n  prompt: >\n    one\n    two {{ aa }}\nmatrix: {a: [x]}", "undefined-name", "3:11", "'aa'", ""),
    (V + 'request: {prompt: "{{ a }}"}\nmatrix: {a: [{id: x, t: y}]}', "template-value", "2:20", "the value is a mapping (a=x)", "name one of its fields: id, t"),
    (V + 'request: {prompt: "{{ a }}"}\nmatrix: {a: [[x, y]]}', "template-value", "2:20", "the value is a list", "join"),
    (V + 'request: {prompt: "{{ a.b }}"}\nmatrix: {a: {from: list.jsonl, column: a}}', "template-value", "2:25", "no field 'b'", ""),
    (V + 'request: {prompt: "{{ a.items }}"}\nmatrix: {a: [{id: x}]}', "template-value", "2:25", "the mapping has no field 'items'", ""),
    (V + 'request: {prompt: "{{ range }}{{ a }}"}\nmatrix: {a: [x]}', "template-value", "2:20", "the value is a function", "name a field"),
    (V + 'request: {prompt: "{{ a + 1 }}"}\nmatrix: {a: [x]}', "template-value", "2:20", "str", ""),
    (V + 'request: {prompt: "{{ 1 / 0 }}{{ a }}"}\nmatrix: {a: [x]}', "template-value", "2:20", "division by zero", ""),
    (V + 'request: {prompt: "{{ a * 99999999 }}"}\nmatrix: {a: [x]}', "template-value", "2:20", "longer than 100,000", ""),
    (V + 'request: {prompt: "{{ 2 ** 99999 }}"}', "template-value", "2:20", "too large", ""),
    (V + 'request: {prompt: "{{ a.__class__ }}"}\nmatrix: {a: [x]}', "template-syntax", "2:25", "unsafe", "fields of data"),
    (V + 'request: {prompt: "{{ none }}"}', "template-value", "2:20", "the value is null", "default"),
    (V + 'request: {prompt: "{{ a }}"}\nmatrix: {a: [x, " "]}', "template-value", "2:20", "the prompt is empty (at job/a=-#1)", ""),
    (V + 'request: {prompt: "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"}', "template-syntax", "2:23", "calls nothing of its own", "for"),
    (V + "request: {prompt: {{ a }}}\nmatrix: {a: [x]}", "unquoted-template", "2:19", "", "quote"),
    # where
    (R + '{a: [x], where: "b == 1"}', "undefined-name", "3:26", "'where' reads 'b', which is no axis", ""),
    (R + '{a: [x], where: "a = 1"}', "where-syntax", "3:26", "expected the end", "equality is written =="),
    (R + '{a: [x], where: "{{ a }}"}', "where-syntax", "3:26", "not one expression", "without {{ }}"),
    (R + '{a: [x], where: "(a"}', "where-syntax", "3:26", "a bracket is not closed", ""),
    (R + "{a: [x], where: a == 1}", "where-type", "3:25", "a string is compared with a number by == (at a=x)", "quote both, or neither"),
    (R + "{a: [1], where: a == '1'}", "where-type", "3:25", "a number is compared with a string", "quote both"),
    (R + "{a: [{id: x}], where: a == 'x'}", "where-type", "3:31", "a mapping is compared with a string", "such as its id"),
    (R + "{a: [{id: x}], where: a.colour == 'x'}", "where-type", "3:33", "no field 'colour'", ""),
    (R + "{a: [x], where: a < 3}", "where-type", "3:25", "a string is compared with a number by <", ""),
    (R + "{a: [true], where: a == 1}", "where-type", "3:28", "a boolean is compared with a number", ""),
    # include and exclude
    (R + "{a: [x], exclude: [{b: 1}]}", "unknown-axis", "3:29", "there is no axis 'b'", "the axes are: a"),
    (R + "{a: [x], exclude: [{a: y}]}", "exclude-matches-nothing", "3:32", "the axis 'a' has no value 'y'", "it has: x"),
    (R + "{a: ['1'], exclude: [{a: 1}]}", "exclude-matches-nothing", "3:34", "no value 1", "a number and a quoted number"),
    (R + "{a: [vermilion], exclude: [{a: vermillion}]}", "exclude-matches-nothing", "3:40", "no value", "did you mean 'vermilion'?"),
    (R + "{a: [{id: ink}], include: [{a: inc}]}", "include-unknown-id", "3:40", "no value 'inc'", "did you mean 'ink'?"),
    (R + "{a: [x], include: [{a: x, siez: 1:1}]}", "include-unused-name", "3:35", "which no template", "did you mean 'size'?"),
    (R + "{a: [x], include: [{a: x, size: 7:1}]}", "not-allowed-value", "3:41", "found '7:1'", ""),
    # axes
    (V + "request: {prompt: p, size: 1:1}\nmatrix: {size: [1:1]}", "axis-and-field", "3:10", "'size' is an axis and a request field", "remove request.size"),
    (V + "request: {prompt: p}\nvars: {a: 1}\nmatrix: {a: [1]}", "name-twice", "4:10", "the name 'a' is used twice", "rename"),
    (V + "request: {prompt: p}\nmatrix: {zip: {size: [1:1, 4:3], a: [1]}}", "zip-lengths", "3:34", "'size' has 2, 'a' has 1", ""),
    (V + "request: {prompt: p}\nmatrix: {a: [{id: x, t: 1}, {id: x, t: 2}]}", "duplicate-id", "3:29", "the id 'x' stands twice", ""),
    (V + "request: {prompt: p}\nmatrix: {a: [{t: 1}]}", "missing-id", "3:14", "id", "add id"),
    (V + "request: {size: 1:1}", "missing-prompt", "2:1", "the request has no prompt", "axis named prompt"),
    (V + "request: {size: 1:1}\nmatrix: {prompt: {from: ok.csv}}", "prompt-value", "3:18", "value 1 of the axis 'prompt' is no text", "column"),
    (V + "request: {prompt: p}\nmatrix: {n: {from: n.csv, column: n}}", "number-quoted", "3:13", "", ""),
    (V + "request: {prompt: p}\nmatrix: {n: [9], image_urls: [[%s]]}" % ", ".join(["'https://x/a.png'"] * 7), "too-many-images", "3:31", "at most 15", ""),
    (R + "{a: {range: [5, 1]}}", "axis-data", "3:21", "the range [5, 1] is empty", "both ends included"),
    (R + "{a: {range: [1, 5, 0]}}", "axis-data", "3:21", "is empty", ""),
    (R + "{a: {range: [1, 9000000]}}", "axis-data", "3:21", "9,000,000 values: at most 1,000,000", ""),
    (R + '{a: {glob: "*.png"}}', "empty-axis", "3:10", "the axis 'a' has no values", ""),
    (R + '{a: {glob: "../*"}}', "axis-data", "3:20", "leaves the campaign's folder", ""),
    (R + '{a: {glob: "/etc/*"}}', "axis-data", "3:20", "leaves the campaign's folder", ""),
    (R + '{a: {glob: "**x/["}}', "axis-data", "3:20", "", ""),
    # files
    (R + "{a: {from: none.csv}}", "axis-data", "3:20", "there is no file 'none.csv'", "relative to the job file"),
    (R + "{a: {from: .csv/}}", "axis-data", "3:20", "", ""),
    (R + "{a: {from: tool.exe}}", "axis-data", "3:20", "unknown ending", ".jsonl"),
    (R + "{a: {from: ../x.csv}}", "axis-data", "3:20", "outside the campaign's folder", "move the file"),
    (R + "{a: {from: /etc/hosts.txt}}", "axis-data", "3:20", "outside the campaign's folder", ""),
    (R + "{a: {from: latin.txt}}", "axis-data", "3:20", "latin.txt:1: not UTF-8 (byte 0xe9 at offset 3)", "save the file as UTF-8"),
    (R + "{a: {from: empty.txt}}", "empty-axis", "3:10", "has no values", ""),
    (R + "{a: {from: head.csv, column: a}}", "empty-axis", "3:10", "has no values", ""),
    (R + "{a: {from: cells.csv, column: a}}", "axis-data", "3:20", "cells.csv:3: 3 cells under 2 columns", "quotes of csv"),
    (R + "{a: {from: quote.csv, column: a}}", "axis-data", "3:20", "quote.csv:", ""),
    (R + "{a: {from: twice.csv, column: a}}", "axis-data", "3:20", "the column 'a' stands twice", ""),
    (R + "{a: {from: ok.csv, column: Promt}}", "axis-data", "3:36", "'ok.csv' has no column 'Promt'", "did you mean 'Prompt'?"),
    (R + "{a: {from: ok.csv, column: Prompt, types: {m: integer}}}", "axis-data", "3:51", "no column 'm'", "it has 'Prompt', 'n'"),
    (R + "{a: {from: ok.csv, column: Prompt, types: {n: integer}}}", "axis-data", "3:51", "ok.csv:3: 'two' in column 'n' is no integer", ""),
    (R + "{a: {from: ok.csv, column: Prompt, where: row.m == '1'}}", "axis-data", "3:51", "ok.csv:2: the mapping has no field 'm'", "it has 'Prompt', 'n'"),
    (R + "{a: {from: ok.csv, column: Prompt, where: n == '1'}}", "axis-data", "3:51", "'n' is unknown here", "the entry is 'row'"),
    (R + "{a: {from: ok.csv, column: Prompt, where: row.n == 1}}", "axis-data", "3:51", "ok.csv:2: a string is compared with a number", "quote both"),
    (R + "{a: {from: ok.csv, column: Prompt, where: 'row.n =='}}", "axis-data", "3:51", "the expression ends too early", ""),
    (R + "{a: {from: bad.json}}", "axis-data", "3:20", "bad.json:2:4: not JSON", ""),
    (R + "{a: {from: object.json}}", "axis-data", "3:20", "does not hold a list", "a list of values"),
    (R + "{a: {from: nan.json}}", "axis-data", "3:20", "NaN is not JSON", ""),
    (R + "{a: {from: huge.json}}", "axis-data", "3:20", "out of range", ""),
    (R + "{a: {from: twice.json}}", "axis-data", "3:20", "the key 'a' stands twice", ""),
    (R + "{a: {from: half.json}}", "axis-data", "3:20", "half a character", ""),
    (R + "{a: {from: deep.json}}", "axis-data", "3:20", "deep.json:1:", ""),
    (R + "{a: {from: bad.jsonl, column: a}}", "axis-data", "3:20", "bad.jsonl:2:7: not JSON", ""),
    (R + "{a: {from: bad.yaml}}", "axis-data", "3:20", "bad.yaml:2:3", ""),
    (R + "{a: {from: map.yaml}}", "axis-data", "3:20", "must be a list", ""),
    (R + "{a: {from: empty.txt, column: x}}", "empty-axis", "3:10", "", ""),
    (R + "{a: {from: bad.jsonl}, where: a}", "axis-data", "3:20", "", ""),
    # output and references
    (V + "request: {prompt: p}\noutput: {dir: ../x}", "output-dir", "3:15", "outside the campaign's folder", "relative to the job file"),
    (V + "request: {prompt: p}\noutput: {dir: /tmp}", "output-dir", "3:15", "outside", ""),
    (R + '{a: [../x]}\noutput: {name: "{{ a }}"}', "output-name", "4:17", "the part '..' is only dots", "'slug'"),
    (R + '{a: ["x:y"]}\noutput: {name: "{{ a }}"}', "output-name", "4:17", "which Windows takes", "'slug'"),
    (R + '{a: ["%s"]}\noutput: {name: "{{ a }}"}' % ("x" * 201), "output-name", "4:17", "201 bytes: at most 200", ""),
    (R + '{a: [x]}\noutput: {name: "{{ a }}/ "}', "output-name", "4:17", "", ""),
    (R + '{a: [x, y]}\noutput: {name: "same"}', "output-collision", "4:16", "job/a=x#1 and job/a=y#1", "name every axis"),
    (V + "request: {prompt: p, max_images: 4}", "unknown-field", "2:22", "unknown field 'max_images'", "sequential_image_generation_options: {max_images: 4}"),
    (V + "request: {prompt: p, size: 2048x2048}", "not-allowed-value", "2:28", "found '2048x2048'", "size is a ratio"),
    (V + "request: {prompt: p, size: 2K}", "not-allowed-value", "2:28", "found '2K'", "write resolution: 2K"),
    (V + "request: {prompt: p}\nmatrix: {from: jobs.csv}", "wrong-type", "3:16", "an axis is a list", "write prompt: {from: 'jobs.csv'}"),
    (V + "request: {prompt: p}\nmatrix: {x: {values: [a]}}", "unknown-field", "3:14", "unknown field 'values'", "write x: [a, b]"),
    (V + "request: {prompt: p, image_urls: [none.png]}", "reference-image", "2:35", "there is no reference image 'none.png'", "relative to the job file"),
]
# fmt: on


@pytest.fixture
def everything(tmp_path: Path) -> Callable[[str], list[Any]]:
    """The findings of a job beside ``FILES``, checked as ``validate`` does."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / ".csv").mkdir()
    file = tmp_path / "job.yaml"

    def findings(text: str) -> list[Any]:
        file.write_text(text, encoding="utf-8")
        os.chdir(tmp_path)
        return list(validate_jobs([Path("job.yaml")], target=TARGET, sets={}).findings)

    return findings


@pytest.mark.parametrize(
    ("text", "code", "at", "message", "hint"), CASES, ids=[f"{n}-{c[1]}" for n, c in enumerate(CASES)]
)
def test_case(
    everything: Callable[[str], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    text: str,
    code: str,
    at: str,
    message: str,
    hint: str,
) -> None:
    """One finding, at its place, with its next step."""
    monkeypatch.chdir(tmp_path)
    found = [finding for finding in everything(text) if finding.severity == "error"]
    shown = [f"{f.place} [{f.code}] {f.message} | {f.hint}" for f in found]
    assert len(found) == 1, shown
    (finding,) = found
    assert (finding.code, finding.place) == (code, f"job.yaml:{at}"), shown
    assert message in finding.message, shown
    assert hint in (finding.hint or ""), shown
    assert "\n" not in finding.message
    assert not finding.message.endswith(".")


def test_there_are_enough() -> None:
    """A table worth its name."""
    assert len(CASES) >= 60


def test_all_at_once(everything: Callable[[str], list[Any]]) -> None:
    """A file with many mistakes is told of each of them, and of none twice because of another."""
    found = everything(
        V
        + 'vars: {v: 1}\nrequest: {prompt: "{{ subjet }} {{ b }} {{ m }}", size: 1:1}\nmatrix:\n  subject: [x]\n  b: {from: none.csv}\n'
        + "  size: [1:1]\n  zip: {m: [1], k: {from: none.txt}}\n  exclude: [{b: 1}, {subject: y}, {k: 2}]\n  where: b == 1 and k == 2\n"
    )
    assert [(f.code, f.place) for f in found] == [
        ("undefined-name", "job.yaml:3:23"),
        ("axis-data", "job.yaml:6:13"),
        ("axis-and-field", "job.yaml:7:3"),
        ("axis-data", "job.yaml:8:27"),
        ("exclude-matches-nothing", "job.yaml:9:31"),
    ]


def test_the_same_mistake_is_not_told_a_thousand_times(everything: Callable[[str], list[Any]]) -> None:
    """A field that every value of a long axis lacks is named a few times."""
    values = ", ".join(f"{{id: v{n}}}" for n in range(500))
    assert len(everything(V + f'request: {{prompt: "{{{{ a.t }}}}"}}\nmatrix: {{a: [{values}]}}')) == 3
    values = ", ".join(f"none{n}.png" for n in range(500))
    assert len(everything(V + f"request: {{prompt: p}}\nmatrix: {{image_urls: [{values}]}}")) == 20


def test_no_job_file(tmp_path: Path) -> None:
    """A missing file or a folder is a refusal that names it."""
    for name, said in (("none.yaml", "no such file"), (".", "is a folder")):
        with pytest.raises(UsageError, match=said):
            load_job(tmp_path / name, shown=name, target=TARGET, sets={})


def test_special_files(folder: Any) -> None:
    """A pipe, a link out of the campaign and a circle of links are refused; none is waited for."""
    os.mkfifo(folder.path / "pipe.txt")
    (folder.path / "out.txt").symlink_to("/etc/hostname")
    (folder.path / "round.txt").symlink_to("round.txt")
    for name, said in (("pipe", "no regular file"), ("out", "outside the campaign"), ("round", "can't be read")):
        with pytest.raises(FindingsError) as caught:
            folder.load(R + f"{{a: {{from: {name}.txt}}}}")
        assert said in caught.value.diagnostics[0].message


def test_a_bracket_in_a_folder_is_no_pattern(folder: Any) -> None:
    """Only what the job writes is a pattern, not the folder it lies in."""
    (folder.path / ".git").mkdir()
    folder.write("a[1]/x.txt", "x")
    job = folder.load(R + '{a: {glob: "*.txt"}}', name="a[1]/job.yaml")
    assert [value.bindings for value in job.expansion.spec.axes[0].values] == [("x.txt",)]
