"""Texts that try to speak: to a terminal, a CI's runner, a forge that renders Markdown, a shell, a parser."""

from __future__ import annotations

TERMINAL = (
    *("\x1b[31mred", "\x1b[2J\x1b[H", "\x1b[1A\x1b[2Kover", "\x1b[?1049h", "\x1b[?25l", "\x1b[10;10Hhere", "\x1b[6n"),
    *("\x1b[c", "\x1b[8mhidden\x1b[0m", "\x1b]0;owned\x07", "\x1b]2;owned\x1b\\", "\x1b]52;c;b3duZWQ=\x07", "\x1bc"),
    *("\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\", "\x1b]1337;File=inline=1:AAAA\x07", "\x1b(0lqk"),
    *("\x1b7", "\x1bP+q544e\x1b\\", "\x1b_Gf=24;AAAA\x1b\\", "\x1b^pm\x1b\\", "\x1b#8", "\x1b[5i", "\x1b[4h"),
    *("\x1b[20h", "\x1bM", "\x9b31mred", "\x9b2J", "\x9d0;owned\x9c", "\x90q\x9c", "\x85next", "\x84", "\x8d"),
    *("\x0e\x0f", "\x07", "\x08\x08", "over\rnew line", "a\r\n::error::b", "\x0bdown", "\x0cpage", "\x7f\x7f"),
    *("\x00", "\x1a", "\x04", "\x18\x1b[31m", "\x1b[200~paste\x1b[201~", "\x1b[>4;2m", "\x1b]4;1;rgb:ff/00/00\x07"),
    *("\x1b]777;notify;a;b\x07", "\x1b[3J", "␛[31m"),
)
COMMANDS = (
    *("::error::owned", "  ::error file=a,line=1::owned", "\t::warning::x", "::set-output name=digest::x"),
    *("::add-mask::e", "::set-env name=PATH::/tmp", "::add-path::/tmp", "::stop-commands::x", "::group::x"),
    *("::endgroup::", "::debug::x", "::save-state name=a::b", "::add-matcher::x.json", "::echo::on"),
    *("::notice title=a::b", "\xa0::error::nbsp", "\u3000::error::wide", "\u2028::error::line", "\u2003::error::em"),
    *("\ufeff::error::bom", "\x85::error::nel", "line\n::error::second", "line\r::error::second"),
    *("line\n\n  \t ::error::third", "%0A::error::x", "%0D%0A::error::y", "##[error]owned", "a ##[group]x"),
    *("##[set-output name=digest;]x", "##[add-mask]x", "##[command]rm", "###[error]x"),
    *("##vso[task.setvariable variable=a]b", "a ##vso[task.complete result=Succeeded;]"),
    *("##teamcity[buildStop comment='x']", "section_start:1:a\r\x1b[0Kx", "section_end:1:a\r\x1b[0K"),
    *("section_start:1:a[collapsed=true]\r\x1b[0Kx", "::error::\u202eowned", ": :error::x", ":", "::", ":::", "::a"),
    *("a::error::b", "#", "##", "[error]x"),
)
UNSEEN = (
    *("a\u202egpj.exe", "a\u202db", "a\u2066b\u2069", "a\u2067b", "\u200fa", "\u200ea", "\u061ca", "a\u202ab\u202c"),
    *("\u202bx", "a\u200bb", "a\u2060b", "a\ufeffb", "a\xadb", "a\u034fb", "a\u115fb", "a\u1160b", "a\u3164b"),
    *("a\uffa0b", "a\u180eb", "a\ufe00b", "a\U000e0101b", "a\U000e0041\U000e007fb", "a\u2061b", "a\ufff9b\ufffb"),
    *("a\u2800b", "a\u17b4b", "a\u2029b"),
)
MARKDOWN = (
    *("[a](https://evil.example)", "![a](https://evil.example/x.png)", "<https://evil.example>"),
    *("https://evil.example", "www.evil.example", "mailto:a@evil.example", "a@evil.example", "@someone", "@org/team"),
    *("#12", "GH-12", "org/repo#1", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>"),
    *("</details></summary>", "</code><b>x", "<!-- x", "-->", "<a href=javascript:alert(1)>x</a>"),
    *("<svg/onload=alert(1)>", "<iframe src=//evil.example>", "&lt;script&gt;", "&#64;me", "`", "``", "```"),
    *("````\nx\n````", "~~~", "``` \n@someone", "`a` @someone `b`", "` @someone `", "\\`@someone", "`\\"),
    *("| a | b |\n|---|---|", "|", "a|b", "\n\n# heading", "\n\n---\n\n", "\n> quote", "\n- item", "\n1. one"),
    *("\n\n    code", "**bold**", "_a_", "~~gone~~", "[x]: https://evil.example", "[^1]\n\n[^1]: x", "$`a`$"),
    *("$$x$$", "\n/close", "/approve", "<!-- seedream-jobs: plan -->", "\n\n<details open>", ":smile:"),
    *("\n\n```mermaid\ngraph TD\n```", "<sub>", "x\n\n@y"),
)
SHELL = (
    *("a\ntouch PWNED #", "$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "&& touch PWNED", "| touch PWNED"),
    *("> PWNED", "'; touch PWNED; '", '"; touch PWNED; "', "\nBODY\ntouch PWNED\n", "BODY", "!!", "!touch"),
    *("a\\\ntouch PWNED", "${IFS}", "*", "~", "-rf", "--output=PWNED", "@PWNED", "\ttouch PWNED"),
    *("$'\\ntouch PWNED'", "<(touch PWNED)", "#\rtouch PWNED"),
)
DATA = (
    *("=1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "-1", "+1", '"', '""', "a,b", '","', "]]>", "<!ENTITY x>"),
    *("<![CDATA[x", "&amp;", "{{ 7 * 7 }}", "{% for x in y %}", "{0}", "%s", "%n", "\\", "\\u001b[31m", "\\x1b"),
    *("\\n::error::x", "'", "null", "\ud800", "", " ", "鹭在花园", "\U0001fab7\U0001f468\u200d\U0001f469", "é"),
    *("a" * 300, "שלום", "Здравствуй"),
)
PAYLOADS = tuple(dict.fromkeys((*TERMINAL, *COMMANDS, *UNSEEN, *MARKDOWN, *SHELL, *DATA)))
