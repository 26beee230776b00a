"""Starts the swarm of docker-compose.yml and breaks parts of it while it works: `make test-containers`.

Needs Docker and Python's standard library. It builds the images, waits until everything is healthy, has the simple tasks of
examples/tasks.jsonl answered, then kills a worker, kills Redis, and cuts a worker off the network in the middle of many tasks.
Every task that was accepted must be settled, once, with its own answer. Then it comes up once more with the profile
`slm-server`, and the same tasks must get the same answers from the one engine that all workers share. At the end the project
and its volume are removed.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "ghost-smoke"
PORT = 18080
URL = f"http://127.0.0.1:{PORT}"
LEASE = 3
COPIES = 25
LARGEST_IMAGE = 150e6
IMAGES = ("orchestrator", "worker", "evaluator", "a2a-hub")
SETTINGS = {
    "ORCHESTRATOR_PORT": str(PORT),
    "A2A_PORT": "18765",
    "LEASE_SECONDS": str(LEASE),
    "COMPOSE_PROJECT_NAME": PROJECT,
    "DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", "0"),
    "COMPOSE_DOCKER_CLI_BUILD": "1",
}
# What stands in .env where the workers of a machine share one engine.
SHARED_ENGINE = {
    "COMPOSE_PROFILES": "slm-server",
    "SLM_ENDPOINT": "http://slm-server:8090/v1",
    "SLM_MODEL": "ghost-tiny",
}
# Keys of the caller's environment must not reach the swarm: its answers are to be the local model's.
UNSET = (
    "ANTHROPIC_API_KEY",
    "OPENAI_API_KEY",
    "OPENAI_API_BASE",
    "SLM_API_KEY",
    "SLM_MODEL_PATH",
    "GHOST_API_TOKEN",
    "REDIS_URL",
    *SHARED_ENGINE,
)


def say(words):
    print(f"smoke: {words}", file=sys.stderr, flush=True)


def run(*command, quiet=True):
    environment = {k: v for k, v in os.environ.items() if k not in UNSET} | SETTINGS
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE if quiet else sys.stderr)
    if done.returncode != 0:
        raise SystemExit(f"smoke: `{' '.join(command)}` ended with {done.returncode}")
    return (done.stdout or "").strip()


def compose(*arguments, quiet=True):
    return run("docker-compose", *arguments, quiet=quiet)


def containers(service):
    return compose("ps", "-q", service).split()


def ask(method, path, body=None):
    """(status, JSON); a door that is not there yet is status 0."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=40) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except (OSError, ValueError):
        return 0, None


def until(what, seconds, look):
    """Looks until there is something, and says how long that took."""
    begun = time.monotonic()
    while not (found := look()):
        if time.monotonic() - begun > seconds:
            raise SystemExit(f"smoke: {what} did not happen within {seconds} s")
        time.sleep(0.1)
    return found, time.monotonic() - begun


def submitted(task):
    """Sends a task until it is accepted: its id makes that safe."""
    until(f"that {task['task_id']} was accepted", 60, lambda: ask("POST", "/v1/tasks", task)[0] in (200, 202))


def settled(task_id, seconds):
    def look():
        status, record = ask("GET", f"/v1/tasks/{task_id}?wait=5")
        return status == 200 and record["status"] in ("completed", "failed", "cancelled") and record
    return until(f"that {task_id} was settled", seconds, look)[0]


def simple_tasks():
    with open(ROOT / "examples/tasks.jsonl", encoding="utf-8") as lines:
        tasks = [json.loads(line) for line in lines]
    return [task for task in tasks if task["task_type"] in ("json_field", "email_parse", "key_value")]


def main():
    say("building the images; the first time that takes a quarter of an hour")
    compose("build", quiet=False)
    for image in IMAGES:
        size = int(run("docker", "image", "inspect", "-f", "{{.Size}}", f"ghost-swarm/{image}"))
        say(f"{image}: {size / 1e6:.0f} MB")
        assert size <= LARGEST_IMAGE, f"{image} is larger than {LARGEST_IMAGE / 1e6:.0f} MB"
    begun = time.monotonic()
    compose("up", "-d", "--scale", "worker=2", quiet=False)
    first = simple_tasks()[0]
    submitted(first)
    settled(first["task_id"], 60)
    say(f"up → first result: {time.monotonic() - begun:.1f} s")

    # Alone, to know which of them the model answers, and how.
    answers = {}
    for task in simple_tasks():
        submitted(task)
        record = settled(task["task_id"], 60)
        if record["status"] == "completed":
            answers[task["task_id"]] = record["result"]
    assert len(answers) >= 5, f"the model answered {len(answers)} of {len(simple_tasks())} simple tasks"
    say(f"{len(answers)} of {len(simple_tasks())} simple tasks were answered by the local model")

    work = [
        task | {"task_id": f"{task['task_id']}-{copy}"}
        for copy in range(COPIES)
        for task in simple_tasks()
        if task["task_id"] in answers
    ]
    third = len(work) // 3
    cut_off, killed = containers("worker")
    network = f"{PROJECT}_default"
    for number, task in enumerate(work):
        if number == third:
            say("killing a worker")
            run("docker", "kill", killed)
        if number == third + third // 2:
            say("killing Redis")
            redis = containers("redis")[0]
            run("docker", "kill", redis)
            run("docker", "start", redis)
        if number == 2 * third:
            say("cutting the other worker off the network, and starting the killed one again")
            run("docker", "network", "disconnect", network, cut_off)
            run("docker", "start", killed)
        submitted(task)
    time.sleep(2 * LEASE)  # longer than its leases, so that what it held is another's when it comes back
    run("docker", "network", "connect", network, cut_off)
    for task in work:
        record = settled(task["task_id"], 120)
        assert record["status"] == "completed", f"{task['task_id']} is {record['status']}: {record['error']}"
        original = task["task_id"].rsplit("-", 1)[0]
        assert record["result"]["text"] == answers[original]["text"], f"{task['task_id']} has another answer than {original}"
    _, stats = ask("GET", "/v1/stats")
    _, queue = ask("GET", "/v1/queue")
    say(f"{len(work)} tasks settled through three failures; {json.dumps(stats)[:400]}; {json.dumps(queue)[:400]}")
    until("that both workers are registered", 30, lambda: workers() == 2)
    compose("stop", quiet=False)
    for service in ("orchestrator", "evaluator", "a2a-hub"):
        for container in containers(service):
            code = run("docker", "inspect", "-f", "{{.State.ExitCode}}", container)
            assert code == "0", f"{service} ended with {code} when it was told to stop"
    say("all ended in good order")
    shared_engine(answers)


def shared_engine(answers):
    """The same tasks again, answered by the one engine that both workers ask."""
    SETTINGS.update(SHARED_ENGINE)
    compose("up", "-d", "--scale", "worker=2", quiet=False)
    server = containers("slm-server")[0]
    until("that the model's server was healthy", 60, lambda: health(server) == "healthy")
    until("that both workers are registered", 60, lambda: workers() == 2)
    work = [task | {"task_id": f"{task['task_id']}-shared"} for task in simple_tasks() if task["task_id"] in answers]
    for task in work:
        submitted(task)
    for task in work:
        record = settled(task["task_id"], 60)
        assert record["status"] == "completed", f"{task['task_id']} is {record['status']}: {record['error']}"
        original = task["task_id"].rsplit("-", 1)[0]
        assert record["result"]["text"] == answers[original]["text"], f"{task['task_id']} has another answer than {original}"
    requests = metric(server, "ghost_slm_requests_total")
    assert requests >= len(work), f"the model's server took up {requests} requests for {len(work)} tasks"
    say(f"{len(work)} tasks answered alike by the one engine of the profile slm-server")
    compose("stop", quiet=False)
    code = run("docker", "inspect", "-f", "{{.State.ExitCode}}", server)
    assert code == "0", f"slm-server ended with {code} when it was told to stop"


def health(container):
    return run("docker", "inspect", "-f", "{{.State.Health.Status}}", container)


def metric(container, name):
    """A number that a program tells, asked inside the swarm's network."""
    address = run("docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
    with urllib.request.urlopen(f"http://{address}:8082/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def workers():
    status, agents = ask("GET", "/v1/agents")
    return status == 200 and sum(agent["role"] == "worker" for agent in agents["agents"])


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        compose("logs", "--tail=40", quiet=False)
        raise
    finally:
        compose("down", "-v", "--remove-orphans", quiet=False)
