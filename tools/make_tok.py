#!/usr/bin/env python3
"""Tokenizer, pre-tokenizer and chat-template goldens.

  make_tok.py --qwen FILE.gguf --smol FILE.gguf --templates DIR [--out DIR] [--heldout DIR] [--llama-tok BIN]

Rebuilds the two byte-level BPE tokenizers from the vocabularies and merges inside the GGUF files with HF `tokenizers`
(published pre-tokenizers), encodes a fixed list of strings, and (with --llama-tok) compares with llama.cpp.
"""
import argparse, json, os, random, struct, subprocess, sys, unicodedata
os.environ.setdefault("HF_HUB_OFFLINE", "1")
from gguf import GGUFReader
from tokenizers import Tokenizer, Regex, AddedToken, models, pre_tokenizers, decoders, normalizers

QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DS3 = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
       r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]

def bytechar(b):                                          # GPT-2 byte <-> printable character table
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    return chr(b) if b in keep else chr(256 + [x for x in range(256) if x not in keep].index(b))
def field(r, k): return r.fields[k].contents()
def build(path, kind, nfc=True):
    r = GGUFReader(path); toks = field(r, "tokenizer.ggml.tokens"); types = field(r, "tokenizer.ggml.token_type"); mer = field(r, "tokenizer.ggml.merges")
    special = [(i, t) for i, (t, y) in enumerate(zip(toks, types)) if y in (3, 4)]
    sp = {t for _, t in special}
    t = Tokenizer(models.BPE(vocab={x: i for i, x in enumerate(toks)}, merges=[tuple(m.split(" ")) for m in mer], fuse_unk=False, byte_fallback=False))
    if kind == "qwen2":
        if nfc: t.normalizer = normalizers.NFC()
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(x, special=True, normalized=False) for _, x in special])
    for i, x in special: assert t.token_to_id(x) == i, (x, i)
    return t, r, [x for _, x in special if types[_] == 3], toks

A = ["", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \t \n ", "a", " a", "a ", "  a  b   c    ", "Hello, world!", "Hello,  world!\n\nBye.", "I'm you're he's we'll they've I'd can't",
 "I'M YOU'RE HE'S WE'LL THEY'VE I'D CAN'T", "o'clock 'tis ''quoted'' 's", "don’t “smart” quotes — em dash – en…", "The quick brown fox jumps over the lazy dog.", "ALLCAPS MixedCase camelCase snake_case kebab-case SCREAMING_SNAKE",
 "0", "1", "12", "123", "1234", "1234567890", "3.14159265358979", "1,234,567.89", "0x1F4A9 0b1010 0o777 1e-10 6.02E+23", "2024-01-31T23:59:59Z", "٠١٢٣٤٥٦٧٨٩", "Ⅷ ½ ² ① 五 ൧൨", "v1.2.3-rc4+build.5", "192.168.0.1:8080",
 "int main(void) {\n    return 0;\n}\n", "#include <stdio.h>\n#define MAX(a,b) ((a)>(b)?(a):(b))\n", "for (size_t i = 0; i < n; ++i) {\n\tsum += x[i] * y[i];\n}", "def f(x: int) -> str:\n    \"\"\"Doc.\"\"\"\n    return f\"{x!r:>10}\"\n",
 "SELECT * FROM t WHERE a = 'b' AND c <> 3; -- note", "<html><body class=\"x\">&nbsp;&amp;</body></html>", "{\"a\": [1, 2, {\"b\": null}], \"c\": \"\\u00e9\"}", "\\frac{a}{b} \\sum_{i=1}^{n} x_i^2 = \\mathbb{E}[X]", "$x^2 + y^2 = z^2$",
 "if (a&&b||!c) goto *labels[op];", "a+=b-=c*=d/=e%=f<<=g>>=h&=i|=j^=k", "->*::=>...<=>!==", "////////////////", "----------------------------------------", "==========", "\t\tindented\n\t\t\ttwice\n", "trailing spaces   \nnext", "line1\r\nline2\rline3\nline4",
 "\n\n\n\n\nfive", "x\n \n  \n   \ny", "        eight spaces", " "*17, "\t"*9, "a" + " "*40 + "b", "mixed \t tabs \t\t and  spaces", "no\u00a0break\u00a0space", "zero\u200bwidth\u200bspace", "thin\u2009space em\u2003space ideographic\u3000space", "next\u0085line sep\u2028para\u2029end",
 "你好，世界！", "今天天气很好，我们去公园吧。", "深度求索（DeepSeek）发布了新模型。", "漢字かな交じり文、カタカナも。", "こんにちは世界", "ありがとうございます！", "안녕하세요 세계", "한국어 문장을 토큰화합니다.", "Привет, мир!", "Съешь же ещё этих мягких французских булок", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم", "السَّلَامُ عَلَيْكُمْ", "नमस्ते दुनिया", "হ্যালো বিশ্ব", "வணக்கம் உலகம்", "สวัสดีชาวโลก", "Xin chào thế giới", "Dobrý den, světe", "Çok güzel bir gün, değil mi?", "Größe Straße Übermaß", "naïve façade coöperate résumé", "Ελληνικά ΚΕΦΑΛΑΙΑ", "ქართული ენა", "Հայերեն լեզու", "አማርኛ ቋንቋ", "ᏣᎳᎩ", "ᠮᠣᠩᠭᠣᠯ", "ខ្មែរ", "ລາວ", "မြန်မာ",
 "😀", "👍🏽", "👨‍👩‍👧‍👦", "🇫🇷🇯🇵🇧🇷", "I ❤️ C 🚀🚀🚀", "🏳️‍🌈 🧑🏿‍💻", "♥♦♣♠ ☕ ⚡ ✓ ✗", "→←↑↓⇒⇔∀∃∈∉∑∏∫√∞≈≠≤≥", "①②③ ⓐⓑ ㈱ ㍿ ™ ® ©", "𝒜𝓑𝕔 𝟘𝟙𝟚 ｆｕｌｌｗｉｄｔｈ １２３", "𠮷野家 𩸽 𪚥", "𐍈𐌰𐌹 𓀀𓁐 𒀀",
 "e\u0301", "é vs e\u0301", "A\u030a Å Å", "ñ n\u0303", "한 \u1112\u1161\u11ab", "q\u0307\u0323 q\u0323\u0307", "Z\u0351\u036b\u0343\u036aa\u0302\u034cl\u0334g\u0338o", "\ufb01 ligature \ufb02", "\u1e9b\u0323", "ẞ ß ſ",
 "\u0000", "a\u0000b", "\u0001\u0002\u0003\u0007\u0008\u000b\u000c\u000e\u001b\u001f", "\u007f\u0080\u009f", "x\u0004\u0006\u0013y\u0014\u0016\u001d end", "plane4 \U00045678 end", "\ufeffBOM at start", "mid\ufeffBOM", "\ufffd replacement \ufffd\ufffd", "\uffff\ufffe nonchars", "\U0010ffff \U0001fffe", "\ue000\uf8ff private \U000f0000", "\u202eRTL override\u202c", "\u200d\u200c\u200e\u200f", "\u2066isolate\u2069", "\u00ad soft\u00adhyphen",
 "http://example.com/path?query=1&b=%20#frag", "user.name+tag@example.co.uk", "C:\\Users\\me\\file.txt", "/usr/local/bin/../lib/libfoo.so.1.2", "a.b.c.d.e", "...", "…", "!!!???", "?!", "(((nested)))", "[1][2][3]", "{{ template }}", "<|not_special|>", "<think>\nOkay.\n</think>\n\nAnswer", "<answer>42</answer>", "@#$%^&*()_+-=[]{}|;':\",./<>?`~",
 "antidisestablishmentarianism", "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababababab", "ThisIsAVeryLongIdentifierNameWithManyWords", "xX_dArK_lOrD_Xx", "lorem ipsum dolor sit amet, consectetur adipiscing elit", " leading space", "\nleading newline", "word\n", "word \n", "word\n ", " \n word", "one two  three   four    five", "tab\tseparated\tvalues", "a\u3000b", "“”‘’«»„‚", "¿Qué? ¡Sí!", "5€ £3 ¥100 ₹50 $9.99", "50% off! 1/2 price", "x=1;y=2;z=x+y", "naïve123abc456", "abc123def", "1st 2nd 3rd 4th", "10km/h @ 3pm", "H2O CO2 C₆H₁₂O₆", "π≈3.14", "α,β,γ", "日本2024年1月", "第1章", "iPhone15发布", "中文English混排123", "Ñandú", "l'été d'hiver", "rock'n'roll", "y'all'd've", "'Tis 'twas", "it's'it", "'re 've", "x'S", "'ſ 'K"]

def mix(seed, n, pool, taken):
    g = random.Random(seed); out = []
    while len(out) < n:
        s = g.choice(["", " ", "\n", "  "]).join(g.choice(pool) for _ in range(g.randint(2, 5)))[:160]
        if s not in taken and s not in out and not (0xDC00 <= ord(s[-1]) < 0xE000 if s else True): out.append(s)
    return out

def lists():
    return list(dict.fromkeys(A))[:190]

def ref(bin_, gguf, strings, special):
    if not bin_: return None
    data = b"".join(struct.pack("<I", len(s.encode())) + s.encode() for s in strings)
    p = subprocess.run([bin_, gguf, "1" if special else "0"], input=data, capture_output=True, check=True)
    return [[int(x) for x in l.split()] for l in p.stdout.decode().split("\n")[:len(strings)]]

CONVS = [
 dict(messages=[dict(role="user", content="Hi")], add_generation_prompt=True),
 dict(messages=[dict(role="user", content="Hi")], add_generation_prompt=False),
 dict(messages=[dict(role="system", content="You are terse."), dict(role="user", content="What is 2+2?")], add_generation_prompt=True),
 dict(messages=[dict(role="user", content="What is 2+2?"), dict(role="assistant", content="4"), dict(role="user", content="And 3+3?")], add_generation_prompt=True),
 dict(messages=[dict(role="system", content=""), dict(role="user", content="  spaces kept  \n")], add_generation_prompt=True),
 dict(messages=[dict(role="user", content="多语言 🙂 <|im_end|> literal \"quotes\" & <b>"), dict(role="assistant", content="```c\nint x;\n```\n")], add_generation_prompt=False),
 dict(messages=[dict(role="user", content="a"), dict(role="system", content="Late system."), dict(role="user", content="b")], add_generation_prompt=True),
 dict(messages=[dict(role="user", content="Weather in Paris?")], tools=[dict(type="function", function=dict(name="get_weather", description="Get the weather", parameters=dict(type="object", properties=dict(city=dict(type="string", description="Ville: é")), required=["city"])))], add_generation_prompt=True),
 dict(messages=[dict(role="system", content="Use tools."), dict(role="user", content="Weather in Paris and Rome?"), dict(role="assistant", content="", tool_calls=[dict(type="function", function=dict(name="get_weather", arguments=dict(city="Paris", n=1, ok=True, z=None))), dict(type="function", function=dict(name="get_weather", arguments=dict(city="Rome")))]), dict(role="tool", content="{\"t\": 20}"), dict(role="tool", content="{\"t\": 25}"), dict(role="assistant", content="20 and 25."), dict(role="user", content="Thanks")], tools=[dict(type="function", function=dict(name="get_weather", description="d", parameters=dict(type="object", properties={}))), dict(type="function", function=dict(name="second", description="<x> & 'y'", parameters=dict(type="object", properties={})))], add_generation_prompt=True),
 dict(messages=[dict(role="user", content="Solve: x^2=4"), dict(role="assistant", content="<think>\nx=±2\n</think>\n\nx is 2 or -2."), dict(role="user", content="Why two?"), dict(role="assistant", content="Both squares are 4."), dict(role="user", content="ok")], add_generation_prompt=True)]
CONVS2 = None                                             # with --heldout: read from HELDOUT/heldout_inputs.json

def render(template, conv, **kw):
    import jinja2, jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    def fail(m): raise jinja2.exceptions.TemplateError(m)
    env.globals["raise_exception"] = fail; env.globals["strftime_now"] = lambda f: "2025-01-01"
    return env.from_string(template).render(messages=conv["messages"], tools=conv.get("tools"), add_generation_prompt=conv["add_generation_prompt"], **kw)

def main():
    ap = argparse.ArgumentParser()
    for k in ("qwen", "smol", "templates", "out", "heldout", "llama-tok"): ap.add_argument("--" + k)
    a = ap.parse_args(); out = a.out or os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "golden"); ho = a.heldout
    A_ = lists(); os.makedirs(out, exist_ok=True)
    dev = A_ + mix(11, 200 - 4 - len(A_), A_, set(A_)); held, CONVS2 = [], []
    if ho: hi = json.load(open(f"{ho}/heldout_inputs.json")); B_ = [x for x in dict.fromkeys(hi["strings"]) if x not in dev]; held = B_[:80]; held += mix(hi["mix_seed"], 96 - len(held), B_, set(held) | set(dev)); CONVS2 = hi["conversations"]
    for name, path, kind in (("qwen2", a.qwen, "qwen2"), ("smollm", a.smol, "smollm")):
        tok, r, control, toks = build(path, kind); plain, *_ = build(path, kind, nfc=False)
        spec = [f"{control[0]}", f"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", f"a{control[1]}b {control[0]}", "<|im_start|><|im_start|> x"]
        spech = ["<|im_end|>", " <|im_start|> ", "x<|im_end|>\n\n<|im_start|>y", f"{control[-1]}{control[0]} ok"]
        for dest, strs, sps, nm in ((out, dev, spec, "dev"), (ho, held, spech, "heldout")):
            if not dest: continue
            os.makedirs(dest, exist_ok=True); cs, diff = [], 0
            allv = list(strs) + sps
            lt = ref(a.llama_tok, path, allv, True)
            for i, s in enumerate(allv):
                ids = tok.encode(s, add_special_tokens=False).ids; raw = plain.encode(s, add_special_tokens=False).ids
                c = dict(text=s, ids=ids)
                if raw != ids: c["ids_without_nfc"] = raw
                d = tok.decode(ids, skip_special_tokens=False)
                if d != s: c["decoded"] = d              # NFC, or bytes that the vocabulary lacks
                if lt is not None and lt[i] != raw: c["llama_cpp_ids"] = lt[i]; diff += 1
                cs.append(c)
            tmpl = field(r, "tokenizer.chat_template"); conv = []
            for cv in (CONVS if nm == "dev" else CONVS2):
                txt = render(tmpl, cv); conv.append(dict(cv, rendered=txt, ids=plain.encode(txt, add_special_tokens=False).ids))
            json.dump(dict(tokenizer=name, source=os.path.basename(path), pre=field(r, "tokenizer.ggml.pre"), vocab=len(toks), missing_bytes=[b for b in range(256) if bytechar(b) not in tok.get_vocab()], merges=len(field(r, "tokenizer.ggml.merges")),
                note="special (control) tokens in the text are recognised; no BOS/EOS added; `ids` follows the published HF tokenizer (qwen2: NFC first); "
                     "`ids_without_nfc` where skipping NFC differs; `decoded` where decoding ids does not give text back; `llama_cpp_ids` where llama.cpp differs from the no-NFC result",
                special={t: i for i, t in enumerate(toks) if t in set(control)}, cases=cs, chat_template=tmpl, chat=conv),
                open(f"{dest}/tokenizer_{name}.json", "w"), indent=0)
            print(name, nm, len(cs), "cases; with NFC effect", sum("ids_without_nfc" in c for c in cs), "; llama.cpp differs", diff, [c["text"][:40] for c in cs if "llama_cpp_ids" in c][:20])
    # deepseek-v3 pre-tokenizer: pieces only
    seq = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(x), "isolated") for x in DS3])
    for dest, strs in ((out, dev), (ho, held)):
        if dest: json.dump(dict(regexes=DS3, note="three Split(isolated) passes in order, each applied to the pieces of the previous one",
            cases=[dict(text=s, pieces=[p for p, _ in seq.pre_tokenize_str(s)]) for s in strs if s]), open(f"{dest}/pretok_deepseek3.json", "w"), indent=0)
    if a.templates:
        for dest, cvs in ((out, CONVS), (ho, CONVS2)):
            if not dest: continue
            res = []
            for f in ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek-ai-DeepSeek-V3.1", "deepseek-ai-DeepSeek-V3.2", "deepseek-ai-DeepSeek-V4", "Qwen-Qwen3-0.6B"):
                t = open(f"{a.templates}/{f}.jinja").read(); items = []
                for cv in cvs:
                    for kw in (({},) if "R1" in f else (dict(thinking=True), dict(thinking=False)) if "DeepSeek" in f else ({}, dict(enable_thinking=False))):
                        try: x = render(t, cv, bos_token="<｜begin▁of▁sentence｜>", eos_token="<｜end▁of▁sentence｜>", **kw); items.append(dict(cv, kwargs=kw, rendered=x))
                        except Exception as e: items.append(dict(cv, kwargs=kw, error=f"{type(e).__name__}: {e}"))
                res.append(dict(name=f, template=t, cases=items)); print(f, sum("rendered" in i for i in items), "rendered", [i["error"][:60] for i in items if "error" in i][:3])
            json.dump(res, open(f"{dest}/chat_templates_other.json", "w"), indent=0)
if __name__ == "__main__": main()
