"""Holds our numbers in words (src/task/number_words.c) against num2words and CLDR, every one of them.

    python3 tools/check_number_words.py [--golden tests/golden/number_words.json]

0 to 9,999 in en, de, fr and es are num2words' (English but for its "and" and commas), 0 to 99,999 in all five languages
CLDR's as unicode-rbnf reads its rules (French hyphens, soft hyphens of German apart); what people write otherwise is taken for
the same, and no two numbers are.  --golden writes 200 numbers of each as these two packages spell them.
Needs: pip install num2words unicode-rbnf; a C compiler, utf8proc.
"""
import argparse, json, pathlib, random, subprocess, sys, tempfile
from num2words import num2words
from unicode_rbnf import RbnfEngine

ROOT = pathlib.Path(__file__).resolve().parent.parent
LANGUAGES, HIGHEST, SHOWN = ("en", "zh", "es", "fr", "de"), 99_999, 9_999    # in the order of R2I_EN ...
CLDR = dict(en="spellout-cardinal", zh="spellout-cardinal", es="spellout-numbering", fr="spellout-numbering", de="spellout-numbering")
LISTING = r"""
#include <stdio.h>
#include <string.h>
#include "task/number_words.h"
/* "LANGUAGE NUMBER": its words; "LANGUAGE NUMBER OTHER": whether these are the same. */
int main(void) {
    char line[1024], words[R2I_WORDS_BYTES];
    int language, n, at;
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "%d %d%n", &language, &n, &at) != 2) return 1;
        r2i_number_words(language, n, words);
        if (line[at] == ' ')
            puts(r2i_is_same_in_words(words, line + at + 1, strlen(line + at + 1)) ? "1" : "0");
        else
            puts(words);
    }
    return 0;
}
"""


def built(folder):
    program = pathlib.Path(folder) / "list"
    (pathlib.Path(folder) / "list.c").write_text(LISTING)
    subprocess.run(["cc", "-std=c11", "-O2", "-D_DEFAULT_SOURCE", f"-I{ROOT}/src", f"-I{ROOT}/include", f"{folder}/list.c", f"{ROOT}/src/task/number_words.c",
                    "-lutf8proc", "-o", program], check=True)
    return lambda lines: subprocess.run([program], input="".join(l + "\n" for l in lines), capture_output=True, text=True, check=True).stdout.splitlines()


def plain(language, words):
    """As we spell: without English "and" and commas, soft hyphens, the hyphens that French has had around "et" since 1990."""
    words = words.replace("\u00ad", "").replace("-et-", " et ")
    return words.replace(" and ", " ").replace(",", "") if language == "en" else words


def others(language, words):
    """Usual ways to write the same."""
    yield words.upper()
    yield words.replace("-", " ")
    if language == "de":
        yield words.replace("ß", "ss").replace("ü", "ue").replace("ö", "oe")
        yield words.replace("einhundert", "hundert") if words.startswith("einhundert") else words.replace("tausend", " tausend ")
    if language == "es":
        yield words.translate(str.maketrans("áéíóú", "aeiou"))
    if language == "fr":
        yield words.replace(" ", "-")
    if language == "zh":
        yield words.replace("零", "〇")
        yield words.replace("二百", "两百").replace("二千", "两千").replace("二万", "两万")


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--golden")
    golden_path, wrong, golden = a.parse_args().golden, 0, {}
    with tempfile.TemporaryDirectory() as folder:
        ask = built(folder)
        for i, language in enumerate(LANGUAGES):
            engine, ours = RbnfEngine.for_language(language), ask(f"{i} {n}" for n in range(HIGHEST + 1))
            cldr = [plain(language, engine.format_number(n).text_by_ruleset[CLDR[language]]) for n in range(HIGHEST + 1)]
            peers = dict(CLDR=cldr)
            if language != "zh":
                peers["num2words"] = [num2words(n, lang=language) for n in range(SHOWN + 1)]
            for name, peer in peers.items():
                bad = [n for n, words in enumerate(peer) if plain(language, words) != ours[n]]
                print(f"{language}: {len(peer)} numbers of {name}, {len(bad)} otherwise", *(f"({n}: {ours[n]!r}, {peer[n]!r})" for n in bad[:3]))
                wrong += len(bad)
            taken = [(n, o) for n in range(HIGHEST + 1) for o in others(language, ours[n])] + [(n, w) for p in peers.values() for n, w in enumerate(p)]
            bad = [case for case, said in zip(taken, ask(f"{i} {n} {o}" for n, o in taken)) if said != "1"]
            near = [(n, ours[m]) for n in range(0, HIGHEST + 1, 7) for m in {n + 1, n * 10, n // 10, n - n % 1000, n ^ 1} if m != n and 0 <= m <= HIGHEST]
            same = [case for case, said in zip(near, ask(f"{i} {n} {o}" for n, o in near)) if said != "0"]
            print(f"{language}: {len(taken)} usual spellings, {len(bad)} refused; {len(near)} of other numbers, {len(same)} taken", *bad[:3], *same[:3])
            wrong += len(bad) + len(same)
            numbers = {*range(32), *range(71, 100, 2), *range(100, 1200, 100), 1001}
            numbers = sorted(numbers | {*random.Random(8).sample(sorted({*range(SHOWN + 1)} - numbers), 200 - len(numbers))})
            golden[language] = {str(n): peers.get("num2words", cldr)[n] for n in numbers}
    if golden_path:
        lines = ",\n".join(json.dumps(language) + ": " + json.dumps(g, ensure_ascii=False) for language, g in golden.items())
        pathlib.Path(golden_path).write_text("{" + lines + "}\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
