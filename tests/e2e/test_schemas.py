"""Random JSON schemas, answers drawn at random from what the mask allows: whatever is finished must validate.

The judge is python's jsonschema.  R2LM_SCHEMAS sets how many (200), R2LM_SCHEMA_SEED the first one.  A schema of one seed is always
the same: R2LM_SCHEMAS=1 R2LM_SCHEMA_SEED=n repeats what failed.
"""
import datetime, ipaddress, json, os, random, re, urllib.parse
import pytest
from cli_client import TOY, home, r2lm   # noqa: F401  (a fixture)

jsonschema = pytest.importorskip("jsonschema")
N, FIRST = int(os.environ.get("R2LM_SCHEMAS", 200)), int(os.environ.get("R2LM_SCHEMA_SEED", 0))
NAMES = ["a", "ab", "abc", "b", "name", "x y", "q\"t", "\u00e9", "\u4f60", "items", "0", "back\\slash", "tab\t"]
PATTERNS = ["^[a-c]{2,5}$", "^\\d+$", "x|y", "^(foo|ba[rz])?$", "[\"\\\\]", "^[^a-z]{1,4}$", "\\s", "^a.c$", "^\\w{3}-\\w{3}$", "^(\\+\\d{1,3} )?\\d{5}$"]

formats = jsonschema.FormatChecker(formats=())


@formats.checks("date", raises=ValueError)
def is_date(text): return not isinstance(text, str) or bool(datetime.date.fromisoformat(text))
@formats.checks("time", raises=ValueError)
def is_time(text): return not isinstance(text, str) or datetime.time.fromisoformat(text.replace("Z", "+00:00")).tzinfo is not None
@formats.checks("date-time", raises=ValueError)
def is_date_time(text): return not isinstance(text, str) or text[10:11] == "T" and datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo is not None
@formats.checks("uuid", raises=ValueError)
def is_uuid(text): return not isinstance(text, str) or [len(p) for p in text.split("-")] == [8, 4, 4, 4, 12] and int(text.replace("-", ""), 16) >= 0


@formats.checks("ipv4", raises=ValueError)
def is_ipv4(text): return not isinstance(text, str) or bool(ipaddress.IPv4Address(text))
@formats.checks("ipv6", raises=ValueError)
def is_ipv6(text): return not isinstance(text, str) or bool(ipaddress.IPv6Address(text))
@formats.checks("hostname")
def is_hostname(text): return not isinstance(text, str) or len(text) < 254 and all(re.fullmatch("[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", l) for l in text.split("."))
@formats.checks("email")
def is_email(text): return not isinstance(text, str) or bool(re.fullmatch(r"[\w+-]+(\.[\w+-]+)*", text.split("@")[0])) and len(text) < 255 and text.count("@") == 1 and is_hostname(text.split("@")[1])
@formats.checks("uri", raises=ValueError)
def is_uri(text): return not isinstance(text, str) or all((u := urllib.parse.urlsplit(text))[:2]) and is_hostname(u.hostname) and (u.port is None or 0 < u.port < 65536)
@formats.checks("duration")
def is_duration(text): return not isinstance(text, str) or bool(re.fullmatch(r"P(?!$)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?)", text))


def maybe(dice, chance): return dice.random() < chance


def value(dice, depth):
    kind = dice.choice(["null", "bool", "int", "real", "text"] + ["list", "map"] * (depth > 0))
    if kind == "list": return [value(dice, depth - 1) for _ in range(dice.randint(0, 2))]
    if kind == "map": return {dice.choice(NAMES): value(dice, depth - 1) for _ in range(dice.randint(0, 2))}
    return {"null": None, "bool": maybe(dice, .5), "int": dice.randint(-1000, 1000), "real": dice.random() * 10, "text": dice.choice(NAMES + ["", "a\nb"])}[kind]


def string(dice):
    s, kind = {"type": "string"}, dice.choice(["length", "length", "pattern", "format", "free", "run"])
    if kind == "pattern": s["pattern"] = dice.choice(PATTERNS)
    if kind == "format": s["format"] = dice.choice(["date", "time", "date-time", "uuid", "duration", "email", "hostname", "ipv4", "ipv6", "uri"])
    if kind == "format" and maybe(dice, .2): s.update(minLength=1, maxLength=2083)
    if kind == "run":
        s["pattern"] = dice.choice(["^[a-z]+$", "^[A-Z][a-z\"0-9]*-x$", "^\\w{1,30}$", "^x[^a]*$"])
        s["minLength"], s["maxLength"] = 4, dice.randint(4, 9)
    if kind == "length":
        low = dice.randint(0, 4)
        if maybe(dice, .6): s["minLength"] = low
        s["maxLength"] = low + dice.randint(0, 9)
    return s


def number(dice):
    s = {"type": dice.choice(["integer", "number"])}
    if maybe(dice, .15):
        s["multipleOf"] = m = dice.choice([1, 2, 3, 7, 10, 25, 60])
        if maybe(dice, .3): s[dice.choice(["minimum", "exclusiveMinimum"])] = 0
        elif maybe(dice, .5): s["minimum"], s["maximum"] = -dice.randint(0, 500), dice.randint(m, 700)
        return s
    low = dice.choice([-1, 1]) * dice.randint(0, 10 ** dice.randint(0, 7))
    if maybe(dice, .6): s[dice.choice(["minimum", "exclusiveMinimum"])] = low
    if maybe(dice, .6): s[dice.choice(["maximum", "exclusiveMaximum"])] = low + dice.randint(2, 10 ** dice.randint(1, 7))
    if s["type"] == "integer" and maybe(dice, .1) and "minimum" in s: s["minimum"] += .5
    return s


def array(dice, depth):
    s = {"type": "array", "maxItems": dice.randint(0, 4)}
    if maybe(dice, .1): return {"type": "array", "uniqueItems": True, "minItems": dice.randint(0, 2), "items": {"enum": [1, "1", None, [1], {"a": 2}, "q\"t"][dice.randint(0, 3):]}}
    if maybe(dice, .5): s["minItems"] = dice.randint(0, s["maxItems"])
    if maybe(dice, .8): s["items"] = schema(dice, depth - 1)
    if maybe(dice, .3): s["prefixItems"] = [schema(dice, depth - 1) for _ in range(dice.randint(1, 3))]
    return s


def mapping(dice, depth):
    names = dice.sample(NAMES, dice.randint(0, 5))
    s = {"type": "object", "properties": {name: schema(dice, depth - 1) for name in names}}
    if maybe(dice, .7): s["required"] = [name for name in names if maybe(dice, .5)]
    if maybe(dice, .6): s["additionalProperties"] = dice.choice([False, False, schema(dice, 0)])
    if maybe(dice, .1) and "additionalProperties" not in s: s.setdefault("required", []).append("more")
    if maybe(dice, .15):
        if isinstance(s.get("additionalProperties"), dict): s["additionalProperties"] = False
        return {"allOf": [s, {"properties": {"extra": schema(dice, 0)}, **({"required": ["extra"]} if maybe(dice, .5) and s.get("additionalProperties") is None else {})}]}
    return s


def schema(dice, depth):
    kinds = ["string", "number", "enum", "const", "boolean", "null", "types"] + ["array", "mapping", "mapping", "any", "one", "ref"] * (depth > 0)
    kind = dice.choice(kinds)
    if kind == "string": return string(dice)
    if kind == "number": return number(dice)
    if kind == "enum": return {"enum": [value(dice, 2) for _ in range(dice.randint(1, 4))]}
    if kind == "const": return {"const": value(dice, 2)}
    if kind in ("boolean", "null"): return {"type": kind}
    if kind == "types": return {"type": dice.sample(["boolean", "null", "integer", "number"], 2), "minimum": -5, "maximum": 5}
    if kind == "array": return array(dice, depth)
    if kind == "mapping": return mapping(dice, depth)
    if kind == "any": return {"anyOf": [schema(dice, depth - 1) for _ in range(dice.randint(1, 3))]}
    if kind == "one": return {"oneOf": dice.sample([string(dice), {"type": "integer", "maximum": 99}, {"type": "null"}, array(dice, 1), {"type": "boolean"}], 2)}
    return {"$ref": "#/$defs/" + dice.choice(["tree", "leaf"])}


def whole(seed):
    dice = random.Random(seed)
    tree = {"type": "object", "properties": {"v": schema(dice, 0), "kids": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/tree"}}}, "required": ["v"]}
    return {**mapping(dice, 3), "$defs": {"tree": tree, "leaf": schema(dice, 0)}, "title": "no matter"}


def answer(rules, seed):
    return json.loads(r2lm("run", "-m", TOY, "-p", "Hi", "--no-think", "--json", "-n", 900, "--temp", 30, "--top-p", 1, "--min-p", 0,
                           "--seed", seed, "--json-schema", json.dumps(rules)).out)


def test_what_is_finished_validates():
    n_finished = 0
    for seed in range(FIRST, FIRST + N):
        rules = whole(seed)
        said = answer(rules, seed)
        if said["finish_reason"] == "length": continue
        assert said["finish_reason"] == "stop", (seed, said["finish_reason"])
        n_finished += 1
        try:
            jsonschema.Draft202012Validator(rules, format_checker=formats).validate(json.loads(said["text"]))
        except (ValueError, jsonschema.ValidationError) as error:
            pytest.fail(f"seed {seed}: {json.dumps(rules)}\n{said['text']}\n{error}")
    assert n_finished >= N * 0.7, (n_finished, N)    # the rest ran into the toy's context


def test_any_object():
    for seed in range(10):
        said = answer({"type": "object"}, seed)
        if said["finish_reason"] == "stop": assert isinstance(json.loads(said["text"]), dict)
