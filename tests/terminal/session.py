#!/usr/bin/env python3
"""Sessions of the program in real terminals, which tests of cargo do not have.

usage: session.py BINARY

Needs tmux, bash, zsh, fish, mandoc. Every wait is for something to be seen, and has a deadline.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

DEADLINE = 60
BAR = re.compile(r"^  (issues|worklogs|changelog) +[█░]")
WAIT = re.compile(r"rate limit: resumes at \d\d:\d\d:\d\d")
# Colours and the like; to move the cursor is what bars are made of.
STYLE = re.compile(rb"\x1b\[[0-9;]*m")


def main():
    binary = Path(sys.argv[1]).resolve()
    needed = ["tmux", "bash", "zsh", "fish", "mandoc"]
    if missing := [it for it in needed if shutil.which(it) is None]:
        sys.exit(f"not found: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work, panes_closed():
        work = Path(work)
        completions(binary, work)
        manual(binary)
        with Simulator(binary) as simulator:
            for width in [100, 40]:
                bars(binary, work / f"bars-{width}", simulator, width)
            retries(binary, work / "retries", simulator)
            interrupted(binary, work / "interrupted", simulator)
    print("every session has passed")


def check(condition, message, seen=""):
    if not condition:
        sys.exit(f"error: {message}\n{seen}")


class Simulator:
    """The three APIs, until the end of the block."""

    def __init__(self, binary):
        command = [binary, "simulate", "--listen", "127.0.0.1:0", "--issues", "60"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.variables = {}
        for line in self.process.stdout:
            if line.startswith("#"):
                break
            name, value = line.removeprefix("export ").strip().split("=", 1)
            self.variables[name] = value.strip("'")
        self.variables["YANDEX_TRACKER_REQUESTS_PER_SECOND"] = "40"
        self.url = re.match(r"http://[^/]+", self.variables["YANDEX_TRACKER_URL"])[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def faults(self, faults):
        body = json.dumps(faults).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/_sim/faults", body, headers, method="POST")
        urllib.request.urlopen(request, timeout=10).read()


PANES = []


@contextlib.contextmanager
def panes_closed():
    """Leaves no terminal behind, also where a check fails."""
    try:
        yield
    finally:
        for pane in list(PANES):
            pane.close()


class Pane:
    """A command in a terminal of its own; when it has ended, its exit code is on the screen."""

    def __init__(self, command, directory, variables, width):
        directory.mkdir(parents=True, exist_ok=True)
        self.socket = directory / f"tmux-{width}"
        PANES.append(self)
        self.raw = directory / f"raw-{width}"
        self.width = width
        script = directory / "command.sh"
        line = " ".join(f"'{it}'" for it in command)
        script.write_text(f"read -r _\n{line}\necho exit=$?\ncat\n")
        # TZ is the clock that a person would look at.
        env = {"PATH": os.environ["PATH"], "TZ": "Asia/Shanghai", "LANG": "C.UTF-8", **variables}
        size = ["-x", str(width), "-y", "50"]
        subprocess.run(
            ["tmux", "-u", "-f", "/dev/null", "-S", self.socket, "new-session", "-d", *size, "bash", script],
            env=env,
            check=True,
        )
        self.tmux("pipe-pane", f"cat > {self.raw}")
        # The command starts when somebody looks.
        self.keys("Enter")

    def tmux(self, *args):
        command = ["tmux", "-S", self.socket, *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def keys(self, *keys):
        self.tmux("send-keys", "--", *keys)

    def lines(self):
        """What is on the screen and above it."""
        return self.tmux("capture-pane", "-p", "-S", "-").rstrip().split("\n")

    def whole_lines(self):
        """The same; a line that the terminal had to wrap is one."""
        return self.tmux("capture-pane", "-p", "-J", "-S", "-").rstrip().split("\n")

    def until(self, what, condition, every=lambda _: None):
        deadline = time.monotonic() + DEADLINE
        while True:
            lines = self.lines()
            every(lines)
            if condition(lines):
                return lines
            check(time.monotonic() < deadline, f"no {what} in {self.width} columns", "\n".join(lines))
            time.sleep(0.02)

    def ended(self, every=lambda _: None):
        lines = self.until("end", lambda it: any(x.startswith("exit=") for x in it), every)
        return int(next(it for it in lines if it.startswith("exit="))[5:]), lines

    def close(self):
        PANES.remove(self)
        self.tmux("kill-server")


def export(binary, output):
    return [binary, "run", "pipelines/yandex_tracker.yaml", "--output", output]


def bars_fit(lines):
    """Each stream has one bar, and below the first of them is nothing else: no rest of a line that
    was too wide, and nothing that was printed between them."""
    lines = [it for it in lines if it.strip()]
    first = next((at for at, it in enumerate(lines) if BAR.match(it)), len(lines))
    names = [(found := BAR.match(it)) and found[1] for it in lines[first:]]
    text = "\n".join(lines)
    check(None not in names and len(names) == len(set(names)), "the bars are torn", text)


def bars(binary, directory, simulator, width):
    """Bars, what they wait for, and the closing table."""
    simulator.faults({"latency_ms": 20, "rate_limit": {"every": 60, "retry_after": "2"}})
    variables = simulator.variables | {"NO_COLOR": "1"}
    pane = Pane(export(binary, directory / "output"), directory, variables, width)
    seen = {"bar": False, "wait": False}

    def look(lines):
        bars_fit(lines)
        seen["bar"] |= any(BAR.match(it) for it in lines)
        seen["wait"] |= any(BAR.match(it) and WAIT.search(it) for it in lines) or any(
            # A narrow terminal cuts the clock off.
            width < 60 and BAR.match(it) and "rate limit" in it
            for it in lines
        )

    code, lines = pane.ended(look)
    text = "\n".join(lines)
    whole = pane.whole_lines()
    raw = pane.raw.read_bytes()
    pane.close()
    check(code == 0, f"the run ended with {code}", text)
    check(seen["bar"], "no bar was seen", text)
    check(seen["wait"], "no bar said that it waits for the rate limit", text)
    check(not any(BAR.match(it) for it in lines), "a bar stayed behind", text)
    check("yandex_tracker.worklogs" in text, "the closing table is not there", text)
    # What is no table may take several lines of the terminal.
    table = [it for it in whole if not it.startswith("note:") and " WARN " not in it]
    wide = [it for it in table if len(it.rstrip()) > width]
    check(not wide, f"lines of the table are wider than {width} columns", "\n".join(wide))
    check(not STYLE.search(raw), "NO_COLOR, and yet there are colours", repr(STYLE.findall(raw)))
    print(f"ok: bars, waits and the table in {width} columns")


def retries(binary, directory, simulator):
    """A bar says which attempt comes when."""
    simulator.faults({"latency_ms": 5, "server_error_every": 5})
    pane = Pane(export(binary, directory / "output"), directory, simulator.variables, 120)
    said = re.compile(r"50\d from the source: attempt \d+ of \d+ at \d\d:\d\d:\d\d")
    pane.until("retry", lambda it: any(BAR.match(x) and said.search(x) for x in it), bars_fit)
    code, lines = pane.ended(bars_fit)
    pane.close()
    check(code == 0, f"the run ended with {code}", "\n".join(lines))
    print("ok: a bar says which attempt comes when")


def interrupted(binary, directory, simulator):
    """Ctrl-C ends a run, and the next one goes on."""
    simulator.faults({"latency_ms": 100})
    command = export(binary, directory / "output")
    pane = Pane(command, directory, simulator.variables, 100)
    some = re.compile(r" ([3-9]|\d\d+)/\d+ slices")
    pane.until("slice that has ended", lambda it: any(BAR.match(x) and some.search(x) for x in it))
    pane.keys("C-c")
    # The terminal itself writes `^C`, below the bars: one of them may stay behind.
    code, lines = pane.ended()
    text = "\n".join(lines)
    pane.close()
    check(code == 130, f"Ctrl-C ended the run with {code}", text)
    check("error: interrupted" in text and "hint: run again" in text, "nothing says so", text)
    status = [binary, "status", "pipelines/yandex_tracker.yaml", "--output", directory / "output"]
    told = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    check("goes on" in told or "unfinished" in told, "nothing is left for the next run", told)

    simulator.faults({})
    pane = Pane(command, directory / "again", simulator.variables, 100)
    code, lines = pane.ended(bars_fit)
    pane.close()
    check(code == 0, f"the next run ended with {code}", "\n".join(lines))
    print("ok: Ctrl-C ends a run with 130, and the next one goes on")


def completions(binary, work):
    """Each shell loads its script and completes by it."""
    scripts = work / "completions"
    scripts.mkdir()
    for shell, name in [("bash", "tracklake"), ("zsh", "_tracklake"), ("fish", "tracklake.fish")]:
        text = subprocess.run([binary, "completions", shell], capture_output=True, check=True)
        (scripts / name).write_bytes(text.stdout)
    bash = f"""source {scripts}/tracklake
complete_words() {{
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _tracklake tracklake "${{@: -1}}" "${{@: -2:1}}"
    printf '%s\\n' "${{COMPREPLY[@]}}"
}}
complete_words tracklake qu
complete_words tracklake quarantine --rep
"""
    fish = f"""source {scripts}/tracklake.fish
complete -C 'tracklake qu'
complete -C 'tracklake quarantine --rep'
"""
    for shell, script in [
        (["bash", "--norc"], bash),
        (["fish", "--no-config"], fish),
    ]:
        env = {"PATH": os.environ["PATH"], "HOME": str(work), "TERM": "xterm", "LANG": "C.UTF-8"}
        done = subprocess.run(
            [*shell, "-c", script], capture_output=True, text=True, env=env, timeout=DEADLINE
        )
        told = f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        check(done.returncode == 0 and done.stderr == "", f"{shell[0]} cannot load it", told)
        for word in ["quarantine", "--replay"]:
            check(word in done.stdout, f"{shell[0]} does not complete `{word}`", told)
    # zsh completes only what a person types.
    pane = Pane(["zsh", "-f", "-i"], work / "zsh", {"HOME": str(work)}, 100)
    pane.keys(f"PROMPT='> '; fpath=({scripts} $fpath); autoload -Uz compinit && compinit -u -d {work}/dump", "Enter")
    pane.keys("print $_comps[tracklake]", "Enter")
    pane.until("completion of zsh", lambda it: "_tracklake" in it)
    pane.keys("tracklake qu", "Tab")
    pane.until("command from zsh", lambda it: any(x.startswith("> tracklake quarantine") for x in it))
    pane.keys(" --rep", "Tab")
    pane.until("option from zsh", lambda it: any("quarantine --replay" in x for x in it))
    text = "\n".join(pane.lines())
    pane.close()
    check("command not found" not in text and "parse error" not in text, "zsh cannot load it", text)
    print("ok: bash, zsh and fish complete commands and options")


def manual(binary):
    """No page has anything that mandoc or groff calls an error."""
    described = subprocess.run([binary, "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^  ([a-z]+) {2,}", described.split("Options")[0], re.MULTILINE)
    check(len(commands) > 10, "the commands are not found", described)
    for command in [[], *([it] for it in commands if it != "help")]:
        page = subprocess.run([binary, "man", *command], capture_output=True, check=True).stdout
        lint = ["mandoc", "-T", "lint", "-W", "error"]
        done = subprocess.run(lint, input=page, capture_output=True)
        told = (done.stdout + done.stderr).decode()
        check(done.returncode == 0 and told == "", f"man page {command}", told)
    print(f"ok: {len(commands)} man pages without an error")


if __name__ == "__main__":
    main()
