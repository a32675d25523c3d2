"""Runs the same single-call trials through holdback, promptfoo and Inspect AI, one after the other, and prints a table."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

SCRATCH, HOLDBACK = pathlib.Path(sys.argv[1]), sys.argv[2]
PEERS = int(os.environ.get("PEERS_TRIALS", "2000"))
OURS = int(os.environ.get("EVAL_TRIALS", "10000"))
TASKS, AT_ONCE = 100, 32

SERVER = """
const body = JSON.stringify({id: 'c', object: 'chat.completion', created: 1, model: 'zero', choices: [{index: 0, message:
  {role: 'assistant', content: 'well said'}, finish_reason: 'stop'}], usage: {prompt_tokens: 9, completion_tokens: 2, total_tokens: 11}});
const server = require('http').createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    response.writeHead(200, {'content-type': 'application/json', 'content-length': body.length});
    response.end(body);
  });
});
server.keepAliveTimeout = 600000;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""

INSPECT = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def zero():
    samples = [Sample(id=f"t{n}", input=f"Say word{n} well said.", target="well said") for n in range(TASKS)]
    return Task(dataset=samples, solver=[generate()], scorer=includes())
"""


def holdback_suite(trials):
    tasks = "".join(f"  - {{id: t{n}, prompt: 'Say word{n} well said.'}}\n" for n in range(TASKS))
    return (
        "suite: zero\nkind: capability\ntarget: {prompt: {}}\nmodels: [openai/zero]\n"
        f"trials: {trials // TASKS}\ngraders: [{{type: contains, all: well said}}]\ntasks:\n{tasks}"
    )


def promptfoo_config(base):
    tests = [{"vars": {"n": str(n)}, "assert": [{"type": "contains", "value": "well said"}]} for n in range(TASKS)]
    provider = {"id": "openai:chat:zero", "config": {"apiBaseUrl": base + "/v1", "apiKey": "none"}}
    return json.dumps({"prompts": ["Say word{{n}} well said."], "providers": [provider], "tests": tests})


def measured(command, folder, environment):
    """Seconds and peak megabytes of a command and its children."""
    # A process of its own measures, so that one peer's peak is not another's.
    probe = (
        "import json, resource, subprocess, sys, time\n"
        "start = time.perf_counter()\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)\n"
        "took = time.perf_counter() - start\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024\n"
        "print(json.dumps([took, peak, done.returncode, done.stderr.decode(errors='replace')[-800:]]))\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", probe, *command], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    took, peak, code, said = json.loads(output.stdout)
    if code != 0:
        sys.exit(f"{command[0]} failed with {code}:\n{said}")
    return took, peak


def main():
    server = subprocess.Popen(["node", "-e", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        base = f"http://127.0.0.1:{int(server.stdout.readline())}"
        rows = []
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            environment = dict(os.environ, OPENAI_API_KEY="none", OPENAI_BASE_URL=base + "/v1", NO_PROXY="127.0.0.1")
            environment |= {"PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1", "PROMPTFOO_CONFIG_DIR": name}
            (folder / "suite.yaml").write_text(holdback_suite(OURS), encoding="utf-8")
            (folder / "promptfooconfig.json").write_text(promptfoo_config(base), encoding="utf-8")
            (folder / "zero.py").write_text(INSPECT.replace("TASKS", str(TASKS)), encoding="utf-8")
            ours = [HOLDBACK, "eval", "suite.yaml", "-q", "-j", str(AT_ONCE), "--upstream", f"openai={base}"]
            promptfoo = [str(SCRATCH / "node_modules/.bin/promptfoo"), "eval", "-c", "promptfooconfig.json", "--no-cache", "--no-table"]
            promptfoo += ["--no-progress-bar", "-j", str(AT_ONCE), "--repeat", str(PEERS // TASKS), "-o", "out.json"]
            inspect = [str(SCRATCH / "venv/bin/inspect"), "eval", "zero.py", "--model", "openai/zero", "--model-base-url", base + "/v1"]
            inspect += ["--epochs", str(PEERS // TASKS), "--max-connections", str(AT_ONCE), "--display", "none", "--log-dir", name]
            for who, command, trials in [("holdback", ours, OURS), ("promptfoo", promptfoo, PEERS), ("Inspect AI", inspect, PEERS)]:
                took, peak = measured(command, folder, environment)
                rows.append((who, trials, took, trials / took, peak))
    finally:
        server.kill()
    first = rows[0][3]
    print(f"{'':12}{'trials':>8}{'seconds':>10}{'trials/s':>10}{'peak MB':>9}{'holdback is':>14}")
    for who, trials, took, rate, peak in rows:
        ratio = "" if who == "holdback" else f"{first / rate:.1f} x faster"
        print(f"{who:12}{trials:8}{took:10.2f}{rate:10.0f}{peak:9}{ratio:>14}")


main()
