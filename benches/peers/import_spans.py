"""Sends spans of about a kilobyte as OTLP protobuf: import_spans.py URL SPANS [A_REQUEST] [CONNECTIONS]. One in ten is a model call.
Prints the seconds until the last of them was acknowledged. Bodies are made before the clock starts."""
import http.client, os, struct, sys, threading, time, urllib.parse

url, count = urllib.parse.urlsplit(sys.argv[1]), int(sys.argv[2])
each, connections = int((sys.argv[3:4] or [500])[0]), int((sys.argv[4:5] or [4])[0])


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def attribute(key, value):
    inner = varint(3 << 3) + varint(value) if isinstance(value, int) else field(1, value)
    return field(9, field(1, key) + field(2, inner))


def span(number):
    call = number % 10 == 0
    own = [("openinference.span.kind", "LLM" if call else "CHAIN"), ("input.value", "x" * 350), ("output.value", "y" * 350)]
    if call:
        own += [("llm.model_name", "gpt-4o-mini"), ("llm.input_messages.0.message.role", "user"), ("llm.input_messages.0.message.content", "hello"),
                ("llm.output_messages.0.message.role", "assistant"), ("llm.output_messages.0.message.content", "hi"),
                ("llm.token_count.prompt", 9), ("llm.token_count.completion", 2)]
    start = 1_767_000_000_000_000_000 + number * 1_000_000
    times = varint(7 << 3 | 1) + struct.pack("<Q", start) + varint(8 << 3 | 1) + struct.pack("<Q", start + 500_000)
    trace = struct.pack(">QQ", RUN, number // 50 + 1)
    return field(1, trace) + field(2, struct.pack(">Q", number + 1)) + field(5, f"step {number}") + times + b"".join(attribute(*one) for one in own)


RUN = int.from_bytes(os.urandom(7), "big")
bodies = []
for first in range(0, count, each):
    spans = b"".join(field(2, span(number)) for number in range(first, min(first + each, count)))
    bodies.append(field(1, field(1, field(1, field(1, "service.name") + field(2, field(1, "bench")))) + field(2, field(1, field(1, "bench")) + spans)))
waiting, lock, refused = list(bodies), threading.Lock(), [0]


def send():
    link = http.client.HTTPConnection(url.hostname, url.port, timeout=120)
    while True:
        with lock:
            if not waiting:
                return
            body = waiting.pop()
        for wait in (0.05, 0.2, 1, 3, None):
            link.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
            answer = link.getresponse()
            answer.read()
            if answer.status == 200:
                break
            if wait is None or answer.status not in (429, 503):
                sys.exit(f"{url.netloc} answers {answer.status}")
            refused[0] += 1
            time.sleep(wait)


threads = [threading.Thread(target=send) for _ in range(connections)]
began = time.time()
[thread.start() for thread in threads]
[thread.join() for thread in threads]
took = time.time() - began
print(f"{took:.3f}")
print(f"{count} spans, {sum(map(len, bodies)) / count:.0f} bytes each, {refused[0]} refused once", file=sys.stderr)
