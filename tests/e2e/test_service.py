"""`serve` and `predict` as processes without torch: stores, restarts, bad input, who gets in, a clean end."""

import dataclasses
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest
import trustme
from PIL import Image
from typer.testing import CliRunner

from deepreduce.cli.main import app
from deepreduce.errors import SessionError
from deepreduce.inference import Client, client_context
from deepreduce.plan import (
    Flatten,
    Linear,
    Relu,
    decode_output,
    digest,
    encode_input,
    normalized,
    pictures_of,
    run,
    weights_digest,
    write_plan,
    write_weights,
)
from deepreduce.units import show_bytes
from deepreduce.version import __version__
from plan_samples import conv, plan_of, random_weights

CLASSES = ("cat", "dog [bold]", "eel")
RNG = np.random.default_rng(11)
PIXELS = RNG.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
PLAN = dataclasses.replace(
    plan_of(
        conv("c", "input", 4),
        Relu("r", ("c",), 8, 30, 2**20),
        Flatten("f", ("r",)),
        Linear("y", ("f",), 3, True, 12, 8),
        input_shape=(3, 8, 8),
    ),
    pictures=pictures_of((3, 8, 8), (0.5,) * 3, (0.25,) * 3, CLASSES),
)
WEIGHTS = random_weights(PLAN, RNG, bits=7)


def logits(pixels):
    x = encode_input(PLAN, normalized(PLAN, pixels.transpose(2, 0, 1)[None]))
    return decode_output(PLAN, run(PLAN, WEIGHTS, x)["y"])[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A plan, three pictures, and a place where torch cannot be imported."""
    path = tmp_path_factory.mktemp("service")
    write_plan(path / "plan" / "plan.json", PLAN)
    write_weights(path / "plan" / "weights.safetensors", PLAN, WEIGHTS)
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(path / f"{number}.png")
    Image.fromarray(PIXELS[0]).resize((9, 8)).save(path / "wide.png")
    (path / "bare").mkdir()
    (path / "bare" / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    (path / "token").write_text("open sesame\n")
    return path


def environment(folder):
    extra = {"PYTHONPATH": str(folder / "bare"), "OMP_NUM_THREADS": "1", "XDG_DATA_HOME": str(folder / "data")}
    return {**os.environ, **extra, "DEEPREDUCE_CONFIG": str(folder / "config")}


def trusted(folder):
    """What a client in this process needs for `serve` on this machine."""
    return {"tls": client_context(folder / "config/development/authority.pem"), "server_name": "localhost"}


def command(*arguments):
    return [sys.executable, "-m", "deepreduce", *map(str, arguments)]


@contextmanager
def served(folder, *options, plan=None, port=0):
    """(process, port) of a server that is ready; its standard error goes to a file."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command("serve", plan or folder / "plan", "--listen", f"127.0.0.1:{port}", *options),
            stdout=subprocess.PIPE, stderr=log, text=True, env=environment(folder),
        )  # fmt: skip
        try:
            line = process.stdout.readline()
            found = re.fullmatch(rf"serving \S+ {digest(PLAN)} on 127\.0\.0\.1:(\d+)\n", line)
            assert found, (folder / "log").read_text()
            yield process, int(found[1])
        finally:
            process.kill()
            process.wait()


def run_command(folder, *arguments):
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, env=environment(folder), timeout=60
    )


def predict(folder, port, *arguments, code=0):
    return ended(folder, "predict", f"127.0.0.1:{port}", *arguments, code=code)


def ended(folder, *arguments, code=0):
    """A command that ends as it should, without a traceback."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True, text=True, check=False, env=environment(folder), timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_prepared_then_restarted_then_predicted(folder):
    """Both sides are new processes each time; the answers are the exact ones."""
    store = ("--store", folder / "server")
    with served(folder, *store, "--log", "json") as (process, port):
        done = predict(folder, port, "--prepare", 4, "--protocol", "delphi")
        assert "4 prepared" in done.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        events = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
        assert [event["event"] for event in events].count("prepared") == 4
        assert [event["event"] for event in events[-2:]] == ["stopping", "stopped"]
    with served(folder, *store, "--metrics", "127.0.0.1:0") as (_, port):
        images = [folder / f"{number}.png" for number in range(3)]
        done = predict(folder, port, *images, "--json", "--protocol", "delphi", "--top", 2)
        found = json.loads(done.stdout)
        assert (found["prepared"], found["plan"]) == (1, digest(PLAN))
        for entry, pixels in zip(found["predictions"], PIXELS, strict=True):
            assert entry["logits"] == list(logits(pixels))
            best = int(logits(pixels).argmax())
            assert (entry["classes"][0]["index"], entry["classes"][0]["class"]) == (best, CLASSES[best])
            assert len(entry["classes"]) == 2
        shown = predict(folder, port, images[0], "--prepare", 2, "--protocol", "delphi")
        assert CLASSES[int(logits(PIXELS[0]).argmax())] in shown.stdout
        assert "2 predictions still prepared" in shown.stderr
        page = re.search(r"metrics=(\S+)", (folder / "log").read_text())[1]
        check_page(urllib.request.urlopen(page, timeout=5).read().decode())
        for path in ("healthz", "readyz"):
            with urllib.request.urlopen(page.replace("metrics", path), timeout=5) as answer:
                assert answer.read() == b"ok\n"


def check_page(text):
    from prometheus_client.parser import text_string_to_metric_families

    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples[("deepreduce_predictions_total", "")] == 4
    assert samples[("deepreduce_preparations_total", "")] == samples[("deepreduce_preparations_ready",)] == 2
    assert samples[("process_resident_memory_bytes",)] > 1 << 20 and samples[("process_open_fds",)] > 3
    info = ("deepreduce_build_info", *sorted(["", __version__, digest(PLAN), weights_digest(WEIGHTS)]))
    assert samples[info] == 1
    assert samples[("deepreduce_seconds_count", "online")] == 4
    assert samples[("deepreduce_store_bytes",)] > 1000
    assert samples[("deepreduce_bytes_total", "down", "online")] > 1000


@contextmanager
def running(folder, port, *options):
    """A server on that port, killed at the end."""
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            command("serve", folder / "plan", "--listen", f"127.0.0.1:{port}", *options),
            stdout=subprocess.PIPE, stderr=log, text=True, env=environment(folder),
        )  # fmt: skip
        try:
            assert process.stdout.readline().startswith("serving"), (folder / "log").read_text()
            yield process
        finally:
            process.kill()
            process.wait()


def remaining(process):
    """The rest of both streams. Not by `communicate`, which loses what a `readline` before it has buffered."""
    rest, errors = process.stdout.read(), process.stderr.read()
    process.wait(60)
    return rest, errors


@pytest.mark.parametrize("keeps", [True, False])
def test_a_server_killed_twice_costs_no_answer(folder, keeps):
    """Answers are there as they arrive, and those after a kill come from a new connection; with stores and without."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    store = ("--store", folder / "killed") if keeps else ()
    files = [folder / f"{number % 3}.png" for number in range(150)]
    more = ("--wait", 30, "--protocol", "delphi", *(() if keeps else ("--no-store",)))
    with ExitStack() as stack:
        server = stack.enter_context(running(folder, port, *store))
        asking = subprocess.Popen(
            command("predict", f"127.0.0.1:{port}", *files, *more),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(folder),
        )  # fmt: skip
        stack.callback(asking.kill)
        lines = []
        for _ in range(2):
            lines += [asking.stdout.readline() for _ in range(5)]
            server.kill()
            server.wait()
            server = stack.enter_context(running(folder, port, *store))
        rest, errors = remaining(asking)
    lines += rest.splitlines(keepends=True)
    assert asking.returncode == 0, errors
    assert len(lines) == len(files)
    for line, path in zip(lines, files, strict=True):
        best = CLASSES[int(logits(PIXELS[int(path.stem)]).argmax())]
        assert line.startswith(f"{path}: {best}")
    assert errors.count("the connection broke") >= 2
    assert "150 of 150 answered" in errors


def test_what_was_answered_before_a_server_is_gone_is_kept(folder):
    files = [folder / f"{number % 3}.png" for number in range(150)]
    with served(folder) as (server, port):
        asking = subprocess.Popen(
            command("predict", f"127.0.0.1:{port}", *files, "--no-store"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(folder),
        )  # fmt: skip
        lines = [asking.stdout.readline() for _ in range(5)]
        server.kill()
        rest, errors = remaining(asking)
    lines += rest.splitlines(keepends=True)
    assert asking.returncode == 1
    assert 5 <= len(lines) < 150
    assert f"{len(lines)} of 150 answered" in errors
    assert errors.count("error:") == 150 - len(lines)
    assert "Traceback" not in errors


def test_a_limit_of_what_is_prepared(folder, tmp_path):
    """It is named with its option; answers go on with what there is room for, and nothing is lost."""
    files = [folder / f"{number % 3}.png" for number in range(5)]
    with served(folder, "--store", tmp_path / "server") as (_, port):
        at = ("--protocol", "delphi", "--store", tmp_path / "client", "--max-store")
        none = predict(folder, port, "--prepare", "1", *at, "5kB", code=2)
        assert "5 kB are allowed" in none.stderr
        assert "or allow more: --max-store" in none.stderr
        some = predict(folder, port, "--prepare", "30", *at, "4MB", code=1)
        left = int(re.search(r"(\d+) prepared", some.stderr)[1])
        assert 1 <= left < 30
        assert "4 MB are allowed" in some.stderr and "--max-store" in some.stderr
        done = predict(folder, port, *files, *at, "2MB")
        assert "5 of 5 answered" in done.stderr
        few = predict(folder, port, *files, "--protocol", "delphi", "--no-store", "--max-store", "2.5MB")
        assert "5 of 5 answered" in few.stderr
        assert "in memory" in few.stderr
        assert "write a size" in predict(folder, port, files[0], "--max-store", "much", code=2).stderr


def test_the_protocol_is_chosen_and_said(folder):
    """What is prepared decides; without it the link does."""
    with served(folder, "--store", folder / "chosen") as (_, port):
        done = predict(folder, port, folder / "0.png", "--no-store", "--json", "--prefer", "online")
        found = json.loads(done.stdout)
        assert found["protocol"] in ("ot", "delphi")
        assert any(note.startswith(f"{found['protocol']}: ") and "online" in note for note in found["notes"])
        assert found["link"] is None or found["link"]["rate"] > 1e6
        predict(folder, port, "--prepare", 1, "--protocol", "delphi")
        found = json.loads(predict(folder, port, folder / "0.png", "--json").stdout)
        assert (found["protocol"], found["link"], found["prepared"]) == ("delphi", None, 0)


def test_a_plan_served_for_another_link(folder):
    """It is another plan, for the same weights: the answers are the same."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command("serve", folder / "plan", "--listen", "127.0.0.1:0", "--link", "50Mbit,40ms"),
            stdout=subprocess.PIPE, stderr=log, text=True, env=environment(folder),
        )  # fmt: skip
        try:
            found = re.fullmatch(r"serving \S+ (\w+) on 127\.0\.0\.1:(\d+)\n", process.stdout.readline())
            assert found[1] == digest(replace(PLAN, link_rate=5 * 10**7)) != digest(PLAN)
            done = predict(folder, found[2], folder / "1.png", "--no-store", "--json")
        finally:
            process.kill()
            process.wait()
    answer = json.loads(done.stdout)
    assert answer["plan"] == found[1]
    assert answer["predictions"][0]["logits"] == list(logits(PIXELS[1]))


def kept(folder):
    return sorted((folder / "data").rglob("client/batches/*"))


def test_bad_files_cost_nothing_and_others_go_on(folder):
    before = kept(folder)
    with served(folder) as (_, port):
        (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:50])
        files = [folder / name for name in ("1.png", "cut.png", "wide.png", "none.png", "0.png")]
        done = predict(folder, port, *files, "--no-store", "--protocol", "delphi", "--json", code=1)
        entries = json.loads(done.stdout)["predictions"]
        assert ["error" in entry for entry in entries] == [False, True, True, True, False]
        assert entries[4]["logits"] == list(logits(PIXELS[0]))
        assert "9x8 pixels, the plan takes 8x8" in entries[2]["error"]
        assert "--resize" in entries[2]["hint"]
        done = predict(folder, port, *files[:3], "--no-store", "--resize", "--batch", 3, code=1)
        assert done.stdout.count("\n") == 2
        assert kept(folder) == before


def test_a_folder_is_all_of_its_pictures_and_in_the_clear_the_same(folder, tmp_path):
    for number in range(3):
        shutil.copy(folder / f"{number}.png", tmp_path)
    with served(folder) as (_, port):
        private = predict(folder, port, tmp_path, "--no-store").stdout
        assert [line.split(":")[0] for line in private.splitlines()] == [str(tmp_path / f"{n}.png") for n in range(3)]
    done = run_command(folder, "predict", "--clear", folder / "plan", tmp_path)
    assert (done.returncode, done.stdout) == (0, private)
    assert "3 of 3 answered in the clear" in done.stderr
    assert "no pictures" in run_command(folder, "predict", "--clear", folder / "plan", folder / "bare").stderr
    for wrong in (["--clear", folder / "plan"], ["--clear", folder / "plan", "x.png", "--prepare", 2]):
        assert run_command(folder, "predict", *wrong).returncode == 2


def test_evaluation_of_a_labeled_folder(folder, tmp_path):
    """Accuracy and confusion by the labels, agreement and equality with the plan's integers."""
    best = [CLASSES[int(logits(pixels).argmax())] for pixels in PIXELS]
    labels = [best[0], best[1], next(name for name in CLASSES if name != best[2])]
    for number, label in enumerate(labels):
        (tmp_path / label).mkdir(exist_ok=True)
        shutil.copy(folder / f"{number}.png", tmp_path / label)
    with served(folder) as (_, port):
        ask = ("evaluate", f"127.0.0.1:{port}", tmp_path, "--no-store", "--protocol", "ot")
        found = json.loads(run_command(folder, *ask, "--clear", folder / "plan", "--json").stdout)
        assert found["accuracy"] == found["clear_accuracy"] == {"count": 2, "of": 3}
        assert found["agreement"] == found["equal"] == {"count": 3, "of": 3}
        table = np.array(found["confusion"])
        assert table.sum() == 3 and table.trace() == 2
        assert table[CLASSES.index(labels[2]), CLASSES.index(best[2])] == 1
        assert found["down_bytes"] > 0 and found["online_seconds"] > 0
        text = run_command(folder, *ask, "--limit", 2).stdout
        assert "2 of 2" in text and "dog [bold]" in text and "in the clear" not in text
        flat = run_command(folder, "evaluate", f"127.0.0.1:{port}", folder / "plan" / "..", "--no-store")
        assert flat.returncode == 2 and "are not classes of the plan" in flat.stderr
        (tmp_path / labels[0] / "cut.png").write_bytes(b"no picture")
        done = run_command(folder, *ask)
        assert done.returncode == 1 and "cut.png cannot be decoded" in done.stderr and "3 of 4" in done.stdout


def test_who_gets_in(folder, tmp_path):
    with served(folder):  # makes the development authority, whichever test comes first
        pass
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = ("--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem")
    with served(folder, *tls, "--token-file", folder / "token", "--log", "json") as (_, port):
        ask = (port, folder / "0.png", "--no-store")
        trust = ("--tls-ca", tmp_path / "ca.pem")
        known = ("--token-file", folder / "token")
        predict(folder, *ask, *trust, *known, "--pin", digest(PLAN))
        assert "pinned is 0000" in predict(folder, *ask, *trust, *known, "--pin", "0" * 64, code=4).stderr
        assert "access denied" in predict(folder, *ask, *trust, code=4).stderr
        assert "certificate" in predict(folder, *ask, "--tls", *known, code=4).stderr
        log = (folder / "log").read_text()
        assert "sesame" not in log
        assert {json.loads(line).get("reason") for line in log.splitlines()} >= {"refused", "tls"}
    assert "is the server running there" in predict(folder, port, folder / "0.png", "--no-store", code=4).stderr


def test_a_token_for_its_owner_alone(folder, tmp_path):
    tokens, out = tmp_path / "tokens", tmp_path / "alice.token"

    def token(*arguments):
        return subprocess.run(command("token", *arguments), capture_output=True, text=True, env=environment(folder))

    made = token("alice", "--file", tokens, "--out", out)
    assert made.returncode == 0 and made.stdout == "", made.stderr
    assert out.stat().st_mode & 0o777 == 0o600
    again = token("bob", "--file", tokens, "--out", out)
    assert again.returncode == 2 and "exists" in again.stderr
    assert token("alice", "--file", tokens, "--remove", "--out", tmp_path / "x").returncode == 2
    with served(folder, "--tokens", tokens) as (_, port):
        ask = (port, folder / "0.png", "--no-store", "--token-file", out)
        assert "may read" not in predict(folder, *ask).stderr
        out.chmod(0o644)
        assert f"others on this machine may read {out}" in predict(folder, *ask).stderr


def test_plain_only_where_both_sides_say_so(folder):
    ask = (folder / "0.png", "--no-store")
    with served(folder) as (_, port):
        predict(folder, port, *ask, "--insecure", "--timeout", 5, code=4)
        for wrong in (["--insecure", "--tls"], ["--tls-key", "x"]):
            predict(folder, port, *ask, *wrong, code=2)
        elsewhere = environment(folder) | {"DEEPREDUCE_CONFIG": str(folder / "nowhere")}
        done = subprocess.run(
            command("predict", f"127.0.0.1:{port}", *ask), capture_output=True, text=True, check=False, env=elsewhere
        )
        assert done.returncode == 2 and "no development authority" in done.stderr
    with served(folder, "--insecure") as (_, port):
        assert "plain TCP" in (folder / "log").read_text()
        assert "plain TCP" in predict(folder, port, *ask, "--insecure").stderr
        assert "does not speak TLS" in predict(folder, port, *ask, code=4).stderr


def deepreduce(*arguments, error=None):
    """A verb that needs no process of its own."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if error is not None:
        assert error in str(done.exception)
    else:
        assert done.exit_code == 0, done.output
    return done


def test_certificates_tokens_and_quotas(folder, tmp_path):
    """An operator's day: certificates, a token, bounds for its owner, what was counted and what was written down."""
    ours, tokens, quotas, audit = (tmp_path / name for name in ("ours", "tokens", "quotas.toml", "audit"))
    made = deepreduce("certificates", ours, "--host", "127.0.0.1", "--client", "alice")
    assert "for development only" in made.stderr
    (tmp_path / "token").write_text(deepreduce("token", "alice", "--file", tokens).stdout)
    deepreduce("token", "alice", "--file", tokens, error="`replace`")
    quotas.write_text('[identity.alice]\npredictions = "2/1h"\n')
    server = ("--tls-cert", ours / "server.pem", "--tls-key", ours / "server.key",
              "--tls-client-ca", ours / "clients.pem", "--tokens", tokens, "--quotas", quotas,
              "--state", tmp_path / "state", "--audit", audit)  # fmt: skip
    alice = ("--no-store", "--tls-ca", ours / "authority.pem", "--tls-cert", ours / "client-alice.pem",
             "--tls-key", ours / "client-alice.key", "--token-file", tmp_path / "token")  # fmt: skip
    pictures = [folder / f"{number}.png" for number in range(3)]
    with served(folder, *server, "--log", "json") as (process, port):
        done = predict(folder, port, *alice, *pictures, "--json", code=1)
        entries = json.loads(done.stdout)["predictions"]
        assert ["error" in entry for entry in entries] == [False, False, True]
        assert "try again in" in entries[2]["hint"]
        quotas.write_text('[identity.alice]\npredictions = "3/1h"\n')
        process.send_signal(signal.SIGHUP)
        wait_for_line(folder, '"event": "configured", "result": "read again"')
        predict(folder, port, *alice, pictures[2])
        quotas.write_text("nonsense")
        process.send_signal(signal.SIGHUP)
        wait_for_line(folder, '"event": "configured", "result": "failed"')
        deepreduce("token", "alice", "--file", tokens, "--remove")
        assert "access denied" in predict(folder, port, *alice, pictures[0], code=4).stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        head = json.loads((folder / "log").read_text().splitlines()[-1])["audit"]
    found = json.loads(deepreduce("usage", tmp_path / "state", "--json").stdout)
    (usage,), (quota,) = found["usage"], found["quotas"]
    assert (usage["identity"], usage["predicted"]) == ("alice", 3)
    assert (usage["plan"], usage["weights"]) == (digest(PLAN), weights_digest(WEIGHTS))
    assert (quota["identity"], quota["quota"], quota["limit"], quota["left"]) == ("alice", "predictions", 3, 0)
    assert 3000 < quota["next_s"] <= quota["reset_s"] <= 3601
    shown = deepreduce("usage", tmp_path / "state").stdout
    assert "alice" in shown and digest(PLAN)[:12] in shown and "predictions in 60 min" in shown
    assert head in deepreduce("audit", "verify", audit, "--expect", head).stdout
    text = audit.read_text()
    audit.write_text(text.replace('"alice"', '"bob"', 1))
    deepreduce("audit", "verify", audit, error="does not follow")
    assert (tmp_path / "token").read_text().strip() not in text


def wait_for_line(folder, text):
    deadline = time.monotonic() + 30
    while text not in (folder / "log").read_text():
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--listen", "0.0.0.0:0"], "can be reached by others"),
        (["--insecure", "--tls-client-ca", "x.pem"], "--insecure with certificates"),
        (["--tokens", "/nonexistent"], "cannot be read"),
        (["--quota", "total=5"], "needs a folder that outlives the process"),
        (["--quota", "all=5"], "unknown quota 'all'"),
        (["--quotas", "/nonexistent"], "cannot be read"),
        (["--audit", "/nonexistent/audit"], "cannot be written"),
        (["--listen", "nowhere"], "is not an address"),
        (["--max-disk", "much"], "--max-disk is 'much'"),
        (["--tls-cert", "x.pem"], "must be given together"),
        (["--token-file", "/nonexistent"], "cannot be read"),
        (["--rate", "-1"], "rate is -1"),
    ],
)
def test_settings_that_are_refused(folder, options, message):
    done = subprocess.run(
        command("serve", folder / "plan", *options), capture_output=True, text=True, check=False, timeout=30,
        env=environment(folder),
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_files_of_two_exports_are_not_served(folder, tmp_path):
    """Their plan is the same, so only export.json tells."""
    write_plan(tmp_path / "plan.json", PLAN)
    write_weights(tmp_path / "weights.safetensors", PLAN, random_weights(PLAN, RNG, bits=7))
    (tmp_path / "export.json").write_text(json.dumps({"weights_digest": weights_digest(WEIGHTS)}))
    done = subprocess.run(
        command("serve", tmp_path, "--listen", "127.0.0.1:0"), capture_output=True, text=True, check=False, timeout=30,
        env=environment(folder),
    )  # fmt: skip
    assert done.returncode != 0
    assert f"export.json beside it says {weights_digest(WEIGHTS):.12}" in done.stderr
    assert "copy the whole folder again" in done.stderr and "Traceback" not in done.stderr


def asking(folder, port, on_level):
    """Asks, and calls ``on_level`` when the first answer has gone."""
    called = []

    def progress(what, done, total):
        if what == "predict" and not called:
            called.append(on_level())

    with Client("127.0.0.1", port, protocol="delphi", on_progress=progress, **trusted(folder)) as client:
        client.prepare(1)
        return client.predict(normalized(PLAN, PIXELS[0].transpose(2, 0, 1)[None]))[0]


def test_a_signal_during_a_prediction_lets_it_finish(folder):
    with served(folder) as (process, port):
        idle = Client("127.0.0.1", port, **trusted(folder))

        def stop():
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)

        assert np.array_equal(asking(folder, port, stop), logits(PIXELS[0]))
        assert process.wait(10) == 0
        with pytest.raises(SessionError, match=r"shut down|closed|broke"):
            idle.prepare(1)


def test_a_server_that_drains_is_alive_and_not_ready(folder):
    with served(folder, "--metrics", "127.0.0.1:0") as (process, port):
        page = re.search(r"metrics=(\S+)", (folder / "log").read_text())[1]

        def stop():
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert urllib.request.urlopen(page.replace("metrics", "healthz"), timeout=5).status == 200
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(page.replace("metrics", "readyz"), timeout=5)
            assert (refused.value.code, refused.value.read()) == (503, b"the server is being shut down\n")
            return True

        assert np.array_equal(asking(folder, port, stop), logits(PIXELS[0]))
        assert process.wait(10) == 0


def test_a_second_signal_ends_at_once(folder):
    with served(folder) as (process, port):

        def stop_twice():
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)

        with pytest.raises(SessionError):
            asking(folder, port, stop_twice)
        assert process.wait(5) == 128 + signal.SIGTERM


def test_the_key_of_a_store(folder, tmp_path):
    """Made and told once; another one costs nothing. No server is needed to find that out."""
    store = ("--insecure", "--store", tmp_path / "s", "--store-key", tmp_path / "keys" / "key")
    done = predict(folder, 1, folder / "0.png", *store, code=4)  # nobody listens
    assert done.stderr.count("a key for stores is in the key file") == 1
    key = tmp_path / "keys" / "key"
    assert (key.stat().st_size, key.stat().st_mode & 0o777) == (32, 0o600)
    (tmp_path / "other").write_bytes(bytes(32))
    (tmp_path / "other").chmod(0o600)
    done = predict(folder, 1, folder / "0.png", *store[:4], tmp_path / "other", code=2)
    assert "is locked with another key" in done.stderr
    assert "hint:" in done.stderr
    done = predict(folder, 1, folder / "0.png", *store, code=4)
    assert "a key" not in done.stderr
    with served(folder, "--store", tmp_path / "t", "--store-key", tmp_path / "keys" / "another"):
        assert (folder / "log").read_text().count("a key for stores is in the key file") == 1


def test_doctor(folder):
    done = subprocess.run(
        command("doctor", "--json"), capture_output=True, text=True, check=False, timeout=60, env=environment(folder)
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["core"]["path"] in found["core"]["paths"]
    assert found["optional"]["torch"]["version"] is None  # it is hidden from that process
    assert found["optional"]["PIL"]["version"]
    text = subprocess.run(
        command("doctor"), capture_output=True, text=True, check=True, timeout=60, env=environment(folder)
    ).stdout
    assert "missing      torch: for inspect, search" in text


def test_a_store_is_listed_and_pruned(folder, tmp_path):
    """Beside a running server; what is gone is gone on the disk, the rest is predicted with."""

    def store(*arguments, code=0):
        return ended(folder, "store", *arguments, "--store", tmp_path / "client", code=code)

    assert "nothing is prepared" in store("list").stdout
    assert not (tmp_path / "client").exists()
    other = tmp_path / "plan"
    write_plan(other / "plan.json", PLAN)
    write_weights(other / "weights.safetensors", PLAN, random_weights(PLAN, RNG, bits=7))
    at = ("--store", tmp_path / "client", "--protocol")
    with served(folder, "--store", tmp_path / "server") as (_, port):
        predict(folder, port, "--prepare", "2", *at, "ot")
    with served(folder, "--store", tmp_path / "server", plan=other, port=port):
        predict(folder, port, "--prepare", "1", *at, "delphi")
        predict(folder, port, "--prepare", "3", *at, "ot")
        shown = store("list").stdout
        assert max(map(len, shown.splitlines()[:-1])) <= 80
        listed = json.loads(store("list", "--json").stdout)
        assert [(one["server"] is None, one["protocol"], one["batches"]) for one in listed] == [
            (True, "ot", 2), (False, "delphi", 1), (False, "ot", 3)
        ]  # fmt: skip
        assert {one["plan"] for one in listed} == {digest(PLAN)}
        files = sorted(path.stat().st_size for path in (tmp_path / "client" / "batches").iterdir())
        assert sum(one["bytes"] for one in listed) == sum(files)
        assert f"6 predictions, {show_bytes(sum(files))}" in shown
        assert sum("no longer served" in line for line in shown.splitlines()) == 1

        assert "give a PLAN" in store("prune", code=2).stderr
        assert "together" in store("prune", "--all", "--unused", code=2).stderr
        assert "write a time" in store("prune", "--older-than", "soon", code=2).stderr
        assert "at least 4" in store("prune", "xyz", code=2).stderr
        assert "add --yes" in store("prune", "--unused", code=2).stderr
        assert "would delete 2 predictions" in store("prune", "--unused", "--dry-run").stdout
        assert "nothing to delete" in store("prune", "--older-than", "1h", "--yes").stdout
        assert json.loads(store("list", "--json").stdout) == listed
        assert "deleted 2 predictions" in store("prune", "--unused", "--yes").stdout
        assert len(list((tmp_path / "client" / "batches").iterdir())) == 4
        assert "nothing to delete" in store("prune", "0000", "--yes").stdout
        done = predict(folder, port, folder / "0.png", *at, "ot")
        assert "2 predictions still prepared" in done.stderr
        told = json.loads(store("prune", digest(PLAN)[:8].upper(), "--older-than", "0s", "--yes", "--json").stdout)
        assert told["deleted"]["batches"] == 3
        assert not list((tmp_path / "client" / "batches").iterdir())
        predict(folder, port, folder / "0.png", *at, "ot")  # prepared again
    (tmp_path / "client" / "store.sqlite").write_bytes(b"noise" * 1000)
    assert "cannot be read" in store("list", code=2).stderr
    assert "cannot be read" in store("prune", "--all", "--yes", code=2).stderr
    wrong = ended(folder, "store", "list", "--store", tmp_path / "server", code=2)
    assert "is the store of a server" in wrong.stderr


def test_pruning_asks_on_a_terminal(folder, tmp_path):
    with served(folder, "--store", tmp_path / "server") as (_, port):
        predict(folder, port, "--prepare", "2", "--store", tmp_path / "client")
    for answer, left in (("n", 2), ("y", 0)):
        terminal, inside = pty.openpty()
        process = subprocess.Popen(
            command("store", "prune", "--all", "--store", tmp_path / "client"),
            stdin=inside, stdout=inside, stderr=inside, env=environment(folder),
        )  # fmt: skip
        os.close(inside)
        os.write(terminal, f"{answer}\n".encode())
        process.wait(timeout=30)
        shown = os.read(terminal, 1 << 16).decode()
        os.close(terminal)
        assert "delete 2 predictions" in shown
        assert len(list((tmp_path / "client" / "batches").iterdir())) == left
