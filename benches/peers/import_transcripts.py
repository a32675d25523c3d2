"""Transcripts as Claude Code writes them: import_transcripts.py FOLDER MEGABYTES. Sessions of 250 turns, 2.7 KB of tool output each."""
import json, os, sys

folder, megabytes = sys.argv[1], int(sys.argv[2])
os.makedirs(folder)
words, size, session = "the quick brown fox jumps over the lazy dog " * 60, 0, 0
while size < megabytes << 20:
    session += 1
    name = f"{session:08x}-0000-4000-8000-000000000000"
    with open(f"{folder}/{name}.jsonl", "w") as out:
        parent = None
        for turn in range(250):
            usage = {"input_tokens": 10, "output_tokens": 40, "cache_read_input_tokens": 7000, "cache_creation_input_tokens": 90}
            asked = {"id": f"msg_{session}_{turn}", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
                     "stop_reason": "tool_use", "usage": usage,
                     "content": [{"type": "tool_use", "id": f"t{session}_{turn}", "name": "Bash", "input": {"command": f"ls {turn}"}}]}
            given = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"t{session}_{turn}", "content": f"{words} {session} {turn}"}]}
            for kind, message in (("assistant", asked), ("user", given)):
                uuid = f"{session:08x}-{turn:04x}-4000-8000-{int(kind == 'user'):012x}"
                line = {"parentUuid": parent, "isSidechain": False, "userType": "external", "cwd": "/work", "sessionId": name,
                        "version": "2.1.0", "gitBranch": "main", "type": kind, "message": message, "uuid": uuid,
                        "timestamp": f"2026-01-02T{3 + turn // 60:02}:{turn % 60:02}:05.000Z"}
                if kind == "assistant":
                    line["requestId"] = f"req_{session}_{turn}"
                parent = uuid
                # Compact, as it is written: ccusage looks for the bytes.
                size += out.write(json.dumps(line, separators=(",", ":")) + "\n")
