#!/usr/bin/env python3
"""Holds the tree to its own rules (docs/tour.md, CONTRIBUTING.md); part of `make check`.

  check_structure.py [--report]      --report also lists what is allowed but worth a second look

  - a file includes its own folder or a lower rank, never a sibling of the same rank
  - file names are unique; no file or folder is called utils, misc, common or helpers
  - the library never exits, prints, reads the environment or uses an unbounded string function;
    only base/ calls the allocator
  - data at file scope are const
  - files up to 900 lines (tables apart), functions up to 150 (kernels included, tests and tables apart)
  - every C file says at its head what it is (or the header of its name does); no reminder comments
    without an issue number; 100 columns (120 are a failure)
"""
import os, re, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RANK = dict(base=0, kernels=1, files=1, text=1, sampler=1, sandbox=1, model=2, task=2, engine=3, convert=3, train=4, eval=4, server=5, store=5, cli=6)
# Server and program are the library's first customers: they see the public headers and base/ only; the
# program also the server's entry.
SEES = dict(server={"base", "server"}, store={"base", "store"}, cli={"base", "cli", "store"})
ENTRIES = {"server/server.h", "server/gate.h"}
BANNED_NAMES = {"utils", "util", "misc", "common", "helper", "helpers"}
BANNED = ("exit _exit _Exit quick_exit abort printf fprintf vprintf vfprintf puts putchar perror getenv secure_getenv setenv "
          "strcpy strcat strncpy strncat sprintf vsprintf gets strtok atoi atol atof atoll rand srand alloca system popen assert").split()
ALLOCATORS = "malloc calloc realloc free aligned_alloc posix_memalign strdup strndup asprintf vasprintf reallocarray".split()
FILE_WARN, FILE_MAX, FUNCTION_WARN, FUNCTION_MAX, COLUMNS, COLUMNS_MAX = 600, 900, 60, 150, 100, 120

# Exceptions: (rule, path) -> the reason.  Keep it short.
ALLOWED = {
    ("banned", "src/base/failure.c"): "R2I_ASSERT ends the process on a bug",
    ("banned", "src/base/failure.h"): "R2I_ASSERT ends the process on a bug",
    ("banned", "src/sandbox/launch.c"): "the child that could not become a program ends",
    ("mutable", "src/base/cpu.c"): "the once-only CPU probe",
}

problems, notes = [], []


def problem(rule, path, line, text):
    if (rule, path) not in ALLOWED: problems.append(f"{path}:{line}: {text}")


def tracked():
    """Files of the tree: what git knows or would add, or all of them outside a repository."""
    try:
        out = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True, text=True).stdout
        found = [p for p in out.splitlines() if os.path.isfile(os.path.join(ROOT, p))]
        if found: return found
    except (OSError, subprocess.CalledProcessError):
        pass
    found = []
    for folder, subs, files in os.walk(ROOT):
        subs[:] = [s for s in subs if not s.startswith((".", "build"))]
        found += [os.path.relpath(os.path.join(folder, f), ROOT) for f in files]
    return found


def blank(text):
    """The code alone: comments, strings and characters become spaces of the same length and lines."""
    keep_lines = lambda m: re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', keep_lines, text, flags=re.S)


def line_of(text, at): return text.count("\n", 0, at) + 1


def check_names(paths):
    seen = {}
    for path in paths:
        parts, name = path.split("/"), os.path.basename(path)
        for part in parts:
            if part.split(".")[0].lower() in BANNED_NAMES: problem("name", path, 1, f"no file or folder is called {part}")
        if not path.endswith((".c", ".h", ".py", ".sh")): continue
        if path.startswith("src/kernels/") and len(parts) == 4:
            name = "kernels/*/" + name    # one name per operation, level beside level, read side by side
            if parts[2] in seen.get(name, ("", {}))[1]: problem("name", path, 1, "name used twice")
            seen.setdefault(name, (path, set()))[1].add(parts[2])
            continue
        if name in seen: problem("name", path, 1, f"name already used by {seen[name][0]}")
        seen[name] = (path, set())


def check_includes(path, text):
    """`text` still has its strings: #include lines only."""
    own = path.split("/")[1]
    if own not in RANK: return problem("rank", path, 1, f"folder src/{own} has no rank: expected one of {' '.join(RANK)}")
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"]', text, flags=re.M):
        kind, target = match.groups()
        line = line_of(text, match.start())
        top = target.split("/")[0]
        if kind == "<" and target.startswith("r2lm/"): continue
        if kind == "<":
            if top in RANK and os.path.isdir(os.path.join(ROOT, "src", top)) and "/" in target: problem("rank", path, line, f'<{target}>: our own headers take quotes')
            continue
        if target.startswith("r2lm/"): continue
        if "/" not in target:
            if not os.path.exists(os.path.join(ROOT, os.path.dirname(path), target)): problem("rank", path, line, f'"{target}": expected FOLDER/NAME.h')
            continue
        if top not in RANK:
            if not os.path.exists(os.path.join(ROOT, os.path.dirname(path), target)): problem("rank", path, line, f'"{target}": no such folder in src/')
            continue
        if own in SEES and top not in SEES[own] and not (own == "cli" and target in ENTRIES): problem("rank", path, line, f'"{target}": {own} sees include/r2lm and base/ only')
        elif top != own and RANK[top] >= RANK[own]: problem("rank", path, line, f'"{target}": rank {RANK[top]} from {own}, rank {RANK[own]}')
        levels = path.split("/")[2:3] if own == "kernels" else []
        if levels and target.startswith("kernels/") and target.count("/") == 2 and target.split("/")[1] != levels[0]:
            # A machine with AMX has AVX-512, and amx/ is compiled with its flags.
            if (levels[0], target.split("/")[1]) != ("amx", "avx512"):
                problem("rank", path, line, f'"{target}": one kernel level does not include another')


def check_words(path, code):
    words = list(BANNED) if not path.startswith("src/cli/") else "strcpy strcat sprintf vsprintf gets strtok atoi atol atof atoll alloca".split()
    if not path.startswith(("src/base/", "src/cli/")): words += ALLOCATORS
    for match in re.finditer(r"(?<![\w.>])(" + "|".join(words) + r")\s*\(", code):
        problem("banned", path, line_of(code, match.start()), f"{match.group(1)}() is not for the library" if not path.startswith("src/cli/") else f"{match.group(1)}() is banned")


def top_level(code):
    """Yields (start, text) of every top-level item, bodies replaced by {}, preprocessor lines removed."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), code, flags=re.M)
    code = re.sub(r'extern\s+ *\{', lambda m: " " * len(m.group(0)), code)
    depth, start, item = 0, None, []
    for at, ch in enumerate(code):
        if start is None and not ch.isspace(): start = at
        if ch == "{":
            if depth == 0: item.append("{")
            depth += 1
        elif ch == "}":
            depth = max(depth - 1, 0)
            if depth == 0:
                item.append("}")
                text = "".join(item).strip()
                if re.search(r"\)\s*\{\}$", text) and "=" not in text:   # a function ends at its brace
                    yield start, at, text
                    start, item = None, []
        elif depth == 0:
            item.append(ch)
            if ch == ";":
                yield start, at, "".join(item).strip()
                start, item = None, []


def check_items(path, code):
    is_test, is_table = path.startswith("tests/"), path.endswith("_tables.c")
    for start, end, text in top_level(code):
        line = line_of(code, start)
        flat = re.sub(r"__attribute__\s*\(\([^)]*\)\)|_Alignas\s*\([^)]*\)", "", " ".join(text.split()))
        if flat.endswith("{}"):
            n_lines = line_of(code, end) - line + 1
            name = re.search(r"(\w+)\s*\([^{]*\)\s*\{\}$", flat)
            label = name.group(1) if name else flat[:40]
            if n_lines > FUNCTION_MAX and not is_test and not is_table: problem("long", path, line, f"{label}: {n_lines} lines, expected at most {FUNCTION_MAX}")
            elif n_lines > FUNCTION_WARN and not path.startswith("src/kernels/"): notes.append(f"{path}:{line}: {label}: {n_lines} lines, more than {FUNCTION_WARN}: one thing or two?")
            continue
        if not path.startswith("src/") or path.startswith("src/cli/"): continue
        if re.match(r"(typedef|extern|struct|union|enum|_Static_assert|static_assert)\b", flat) and not re.search(r"\}\s*\w+\s*(\[|=|;)(?<!\};)", flat): continue
        left = flat.split("=")[0]
        if "=" not in flat and "(" in left: continue      # a declaration of a function
        if re.match(r"(__extension__ )?(typedef|extern|enum)\b", flat): continue
        left = re.sub(r"\{\}", "", left)
        # The object itself is const: after the last star, or anywhere when there is none.
        own = left.rsplit("*", 1)[-1] if "*" in left and not re.search(r"\(\s*\*", left) else left
        if re.match(r"[A-Z][A-Z0-9_]*\s*\([^)]*\)\s*;", flat): continue   # a macro call
        if flat.strip(";").strip() and not re.search(r"\bconst\b", own) and re.search(r"\w\s+\**\w+", left):
            problem("mutable", path, line, f"data at file scope must be const: {flat[:60]}")
    if path.startswith("src/") and not path.startswith("src/cli/"):
        body_static = re.finditer(r"^[ \t]+static\s+(?!inline\b|_Noreturn\b)([^;={(]*)[;=\[]", code, flags=re.M)
        for match in body_static:
            if not re.search(r"\bconst\b", match.group(1)): problem("mutable", path, line_of(code, match.start()), f"a static local must be const: {match.group(0).strip()[:60]}")


def check_text(path, text):
    is_c = path.endswith((".c", ".h"))
    lines = text.split("\n")
    if is_c:
        n_lines = len(lines) - 1
        if n_lines > FILE_MAX and not path.endswith("_tables.c") and not path.startswith("tests/"): problem("long", path, 1, f"{n_lines} lines, expected at most {FILE_MAX}")
        elif n_lines > FILE_WARN: notes.append(f"{path}: {n_lines} lines, more than {FILE_WARN}: one thing or two?")
        for at, line in enumerate(lines, 1):
            if len(line) > COLUMNS_MAX: problem("columns", path, at, f"{len(line)} columns, expected {COLUMNS}, never more than {COLUMNS_MAX}")
            elif len(line) > COLUMNS: notes.append(f"{path}:{at}: {len(line)} columns, more than {COLUMNS}")
            if "\t" in line: problem("tabs", path, at, "a tab; expected spaces")
        # A .c file may leave it to the header of its name.
        if not text.lstrip().startswith("/*") and not os.path.exists(os.path.join(ROOT, path[:-1] + "h")):
            problem("head", path, 1, "expected a comment at the head: what this file is")
    for match in re.finditer(r"\b(" + "TO" + "DO|FIX" + r"ME|XX" + r"X)\b(?!\s*\(?#\d+)", text):
        problem("reminder", path, line_of(text, match.start()), f"{match.group(1)} without an issue number")


def main():
    paths = sorted(tracked())
    check_names(paths)
    for path in paths:
        if not path.endswith((".c", ".h")) or not path.startswith(("src/", "include/", "tests/", "bench/", "examples/")): continue
        text = open(os.path.join(ROOT, path), encoding="utf-8").read()
        check_text(path, text)
        code = blank(text)
        check_items(path, code)
        if path.startswith("src/"):
            check_includes(path, text)
            check_words(path, code)
        if re.match(r"tests/.*\.[ch]$", path):
            for match in re.finditer(r'#\s*include\s+"[^"]+\.c"', text): problem("include", path, line_of(text, match.start()), "tests include headers, never .c files")
    if "--report" in sys.argv[1:]: print("\n".join(notes))
    print("\n".join(problems + [f"structure: {len(paths)} files, {len(problems)} problems, {len(notes)} notes (--report)"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
