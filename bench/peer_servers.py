"""Servers under the same chats: ours and the llama-server of either peer; used by run_bench.py."""
import http.client, json, os, socket, subprocess, tempfile, time

SYSTEM = "You are a helpful assistant. Answer in plain words, as short as the question allows."
START_SECONDS = 120


def bodies(folder, n, first):
    """n requests, no two alike: questions of prompts/chats.txt in turn, answers of 48 to 80 tokens.  Numbers from `first` on stand before
    the questions, so that of two requests nothing but the system prompt is the same, in no server's cache more than that."""
    with open(os.path.join(folder, "chats.txt"), encoding="utf-8") as file: questions = file.read().strip().split("\n----\n")
    lengths = (48, 72, 56, 80, 64)
    for i in range(n):
        text = f"Question {first + i}: {questions[i % len(questions)]}"
        yield dict(model="bench", messages=[dict(role="system", content=SYSTEM), dict(role="user", content=text)], max_tokens=lengths[i % len(lengths)], ignore_eos=True,
                   temperature=0.7, top_p=0.95, seed=i, stream=True, stream_options=dict(include_usage=True))


class Server:
    """A server's process on a free port; `with` ends it."""
    def __init__(self, command, log):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = open(log, "wb")
        self.child = subprocess.Popen([*command, "--port", str(self.port)], stdout=self.log, stderr=self.log)

    def __enter__(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.child.poll() is None:
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                c.request("GET", "/health")
                if c.getresponse().status == 200: return self
            except OSError: pass
            time.sleep(0.05)
        self.__exit__()
        raise OSError(f"{self.log.name}: the server did not start")

    def __exit__(self, *_):
        self.child.terminate()
        try: self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.log.close()


def measure(generator, server, folder, chats, requests, first):
    """What bench_serve says; OSError with its reason."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(body) + "\n" for body in bodies(folder, requests, first))
        file.flush()
        done = subprocess.run([generator, str(server.port), str(chats), file.name], capture_output=True, text=True, timeout=900)
    if done.returncode != 0: raise OSError(done.stderr.strip()[:200])
    return json.loads(done.stdout)
