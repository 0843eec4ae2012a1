"""r2lm plot from outside: pictures that an XML reader accepts and whose lines lie where the numbers say."""
import json, os, re
import xml.etree.ElementTree as ElementTree
from cli_client import DATA, FAILED, OK, USAGE, here, home, r2lm   # noqa: F401  (fixtures)

SVG = "{http://www.w3.org/2000/svg}"


def plot(*arguments, code=OK): return r2lm("plot", *arguments, code=code)


def run(name, lines, tail=""):
    os.makedirs(name, exist_ok=True)
    open(f"{name}/metrics.jsonl", "w").write("".join(json.dumps(l) + "\n" for l in lines) + tail)
    return name


def paths(picture): return [p for p in ElementTree.fromstring(picture).iter(SVG + "path") if p.get("class") == "l" and "h28" not in p.get("d")]


def points(path): return [tuple(map(float, xy.split())) for xy in re.findall(r"[ML]([\d.]+ [\d.]+)", path.get("d"))]


def test_lines_lie_where_the_numbers_say():
    run("a", [{"step": s, "loss": 4 - s, "lr": 0.1} for s in (0, 1, 2)] + [{"step": 1, "validation_loss": 3.5}])
    plot("a", "-o", "a.svg")
    loss, validation, lr = paths(open("a.svg").read())
    (x0, y0), (x1, y1), (x2, y2) = points(loss)
    assert x0 < x1 < x2 and abs((x1 - x0) - (x2 - x1)) < 0.2 and y0 < y1 < y2 and abs((y1 - y0) - (y2 - y1)) < 0.2     # down is larger
    [(x, y)] = points(validation)
    assert abs(x - x1) < 0.2 and abs(y - (y0 + y1) / 2) < 0.2 and validation.get("stroke-dasharray")
    assert len({y for _, y in points(lr)}) == 1
    assert plot("a", "-o", "-").out == open("a.svg").read()


def test_runs_side_by_side():
    for i, name in enumerate(("one", "two <&> \"three\"")): run(name, [{"step": s, "loss": 1 / (s + i + 1)} for s in range(1000)])
    picture = plot("one", 'two <&> "three"', "-o", "-").out
    texts = [t.text for t in ElementTree.fromstring(picture).iter(SVG + "text")]
    assert "one" in texts and 'two <&> "three"' in texts
    drawn = paths(picture)
    assert len(drawn) == 4 and len({p.get("stroke") for p in drawn}) == 2     # many points: a pale line and a smooth one
    assert [p.get("opacity") for p in drawn] == [".25", None] * 2


def test_chosen_metrics_and_text():
    run("a", [{"step": s, "reward": s % 5, "mine": float(s), "note": "words are passed over"} for s in range(200)])
    said = plot("a", "--metric", "mine").out.splitlines()
    assert said[0] == "a" and said[1].endswith("0 to 199") and len(re.findall("[▁-█]", said[1])) == 60
    assert "▁" in said[1] and "█" in said[1]
    assert len(paths(plot("a", "--metric", "mine", "--metric", "reward", "-o", "-").out)) == 2
    assert "no run has these" in plot("a", "--metric", "loss", code=USAGE).err
    assert "SVG" in plot("a", "-o", "a.png", code=USAGE).err and not os.path.exists("a.png")


def test_numbers_as_json():
    run("a", [{"step": s, "loss": loss, "lr": 1} for s, loss in enumerate((3, 9, -1, 4))])
    run("b", [{"step": 1, "loss": 2.5}])
    said = json.loads(plot("a", "b", "--metric", "loss", "--json").out)
    assert [r["name"] for r in said["runs"]] == ["a", "b"]
    assert said["runs"][0]["metrics"] == {"loss": {"points": 4, "first": 3, "last": 4, "lowest": -1, "highest": 9}}
    assert set(json.loads(plot("a", "--json").out)["runs"][0]["metrics"]) == {"loss", "lr"}
    assert "no run has these" in plot("b", "--metric", "lr", "--json", code=USAGE).err


def test_odd_numbers():
    run("one", [{"step": 5, "loss": 2.5}])
    run("same", [{"step": s, "loss": 0} for s in range(9)])
    run("huge", [{"step": s, "loss": 1e300 * (s - 1)} for s in range(3)])
    for name in ("one", "same", "huge"):
        picture = plot(name, "-o", "-").out
        assert "nan" not in picture and "inf" not in picture.replace("info", ""), picture
        plot(name)


def test_what_is_wrong_is_said():
    assert "nowhere" in plot("nowhere", code=DATA).err
    plot(code=USAGE)
    run("live", [{"step": 1, "loss": 2}], tail='{"step": 2, "lo')
    plot("live")                                                          # a line that is being written
    run("bad", [{"step": 1, "loss": 2}], tail="nothing\n")
    assert 'metrics.jsonl:2: expected an object with "step"' in plot("bad", code=DATA).err
    run("empty", [])
    assert "found none" in plot("empty", code=DATA).err
    run("good", [{"step": 1, "loss": 2}])
    plot("good", "-o", "no/such/folder.svg", code=FAILED)
