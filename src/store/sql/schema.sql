-- The tables of the index, version 1. They are made from the trace log and may be thrown away at any time.
-- Rules: TIMESTAMP is UTC, no keys, no indexes, zstd on every big text column; docs/schema.md explains every column.

CREATE TABLE traces (
    trace_id        VARCHAR NOT NULL,
    name            VARCHAR,
    agent           VARCHAR,
    source          VARCHAR NOT NULL,
    content         VARCHAR NOT NULL,
    state           VARCHAR NOT NULL,
    outcome         VARCHAR,
    reason          VARCHAR,
    exit_code       INTEGER,
    signal          INTEGER,
    started_at      TIMESTAMP NOT NULL,
    ended_at        TIMESTAMP,
    lost_calls      BIGINT NOT NULL,
    command         JSON,
    cwd             VARCHAR,
    git_commit      VARCHAR,
    git_dirty       BOOLEAN,
    parent_trace_id VARCHAR,
    parent_call_id  VARCHAR,
    tags            JSON NOT NULL
);

CREATE TABLE calls (
    call_id            VARCHAR NOT NULL,
    trace_id           VARCHAR NOT NULL,
    state              VARCHAR NOT NULL,
    started_at         TIMESTAMP NOT NULL,
    duration_ms        DOUBLE,
    first_byte_ms      DOUBLE,
    first_content_ms   DOUBLE,
    wire               VARCHAR NOT NULL,
    upstream           VARCHAR NOT NULL,
    method             VARCHAR NOT NULL,
    target             VARCHAR NOT NULL,
    model              VARCHAR,
    status             SMALLINT,
    stop               VARCHAR,
    error              VARCHAR,
    input_tokens       BIGINT,
    output_tokens      BIGINT,
    cache_read_tokens  BIGINT,
    cache_write_tokens BIGINT,
    reasoning_tokens   BIGINT,
    cost_usd           DOUBLE,
    agent              VARCHAR,
    parent_agent       VARCHAR,
    retry_of           VARCHAR,
    parent_call_id     VARCHAR,
    relation           VARCHAR NOT NULL,
    context_id         VARCHAR NOT NULL,
    setup_id           VARCHAR NOT NULL,
    kept_messages      INTEGER NOT NULL,
    messages           INTEGER NOT NULL,
    answer_id          VARCHAR,
    tools_called       INTEGER NOT NULL,
    response_id        VARCHAR,
    request_bytes      BIGINT NOT NULL,
    response_bytes     BIGINT,
    redactions         INTEGER NOT NULL
);

CREATE TABLE messages (
    message_id VARCHAR NOT NULL,
    role       VARCHAR NOT NULL,
    text       VARCHAR USING COMPRESSION zstd,
    thinking   VARCHAR USING COMPRESSION zstd,
    parts      JSON USING COMPRESSION zstd
);

CREATE TABLE contexts (
    trace_id   VARCHAR NOT NULL,
    call_id    VARCHAR NOT NULL,
    depth      INTEGER NOT NULL,
    message_id VARCHAR NOT NULL,
    said_at    TIMESTAMP NOT NULL
);

CREATE TABLE setups (
    setup_id VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    part     VARCHAR NOT NULL,
    block_id VARCHAR NOT NULL
);

CREATE TABLE tools (
    tool_id     VARCHAR NOT NULL,
    tool        VARCHAR NOT NULL,
    description VARCHAR USING COMPRESSION zstd,
    parameters  JSON USING COMPRESSION zstd
);

CREATE TABLE tool_calls (
    trace_id     VARCHAR NOT NULL,
    call_id      VARCHAR NOT NULL,
    position     INTEGER NOT NULL,
    tool_call_id VARCHAR,
    tool         VARCHAR NOT NULL,
    arguments    JSON USING COMPRESSION zstd,
    asked_at     TIMESTAMP NOT NULL
);

CREATE TABLE tool_results (
    message_id   VARCHAR NOT NULL,
    position     INTEGER NOT NULL,
    tool_call_id VARCHAR,
    tool         VARCHAR,
    is_error     BOOLEAN NOT NULL,
    text_bytes   BIGINT NOT NULL
);

CREATE TABLE events (
    trace_id    VARCHAR NOT NULL,
    call_id     VARCHAR,
    happened_at TIMESTAMP NOT NULL,
    kind        VARCHAR NOT NULL,
    data        JSON USING COMPRESSION zstd
);

CREATE TABLE scores (
    trace_id  VARCHAR NOT NULL,
    call_id   VARCHAR,
    scored_at TIMESTAMP NOT NULL,
    name      VARCHAR NOT NULL,
    scored_by VARCHAR NOT NULL,
    value     DOUBLE,
    label     VARCHAR,
    comment   VARCHAR
);

CREATE TABLE runs (
    run_id               VARCHAR NOT NULL,
    name                 VARCHAR,
    suite                VARCHAR NOT NULL,
    kind                 VARCHAR NOT NULL,
    started_at           TIMESTAMP NOT NULL,
    finished_at          TIMESTAMP,
    trials_per_task      INTEGER NOT NULL,
    tasks                INTEGER NOT NULL,
    git_commit           VARCHAR,
    holdback_version     VARCHAR NOT NULL,
    suite_fingerprint    VARCHAR NOT NULL,
    graders_fingerprint  VARCHAR NOT NULL,
    judge_fingerprint    VARCHAR NOT NULL,
    prices_fingerprint   VARCHAR NOT NULL,
    target_fingerprint   VARCHAR NOT NULL,
    recorded_at          TIMESTAMP NOT NULL,
    record               JSON NOT NULL USING COMPRESSION zstd
);

CREATE TABLE variants (
    run_id      VARCHAR NOT NULL,
    variant     VARCHAR NOT NULL,
    model       VARCHAR NOT NULL,
    prompt      VARCHAR,
    params      JSON NOT NULL,
    fingerprint VARCHAR NOT NULL
);

CREATE TABLE trials (
    trial_id           VARCHAR NOT NULL,
    run_id             VARCHAR NOT NULL,
    task               VARCHAR NOT NULL,
    variant            VARCHAR NOT NULL,
    attempt            INTEGER NOT NULL,
    seed               UBIGINT,
    trace_id           VARCHAR,
    started_at         TIMESTAMP NOT NULL,
    duration_ms        DOUBLE NOT NULL,
    outcome            VARCHAR NOT NULL,
    ending             VARCHAR NOT NULL,
    score              DOUBLE,
    why                VARCHAR,
    calls              INTEGER NOT NULL,
    input_tokens       BIGINT,
    output_tokens      BIGINT,
    cache_read_tokens  BIGINT,
    cache_write_tokens BIGINT,
    reasoning_tokens   BIGINT,
    cost_usd           DOUBLE,
    infra_retries      INTEGER NOT NULL,
    copy_of            VARCHAR,
    stuck              BOOLEAN NOT NULL,
    answer_hash        VARCHAR,
    recorded_at        TIMESTAMP NOT NULL,
    record             JSON NOT NULL USING COMPRESSION zstd
);

CREATE TABLE grades (
    run_id      VARCHAR NOT NULL,
    trial_id    VARCHAR NOT NULL,
    label       VARCHAR NOT NULL,
    kind        VARCHAR NOT NULL,
    grade       VARCHAR NOT NULL,
    score       DOUBLE,
    pass        BOOLEAN,
    required    BOOLEAN NOT NULL,
    weight      DOUBLE NOT NULL,
    reason      VARCHAR,
    fingerprint VARCHAR NOT NULL
);

CREATE TABLE verdicts (
    verdict_id    VARCHAR NOT NULL,
    verdict       VARCHAR,
    baseline_run  VARCHAR,
    candidate_run VARCHAR,
    recorded_at   TIMESTAMP NOT NULL,
    record        JSON NOT NULL USING COMPRESSION zstd
);

CREATE TABLE cases (
    record_id   VARCHAR NOT NULL,
    suite       VARCHAR NOT NULL,
    case_id     VARCHAR NOT NULL,
    level       VARCHAR NOT NULL,
    kind        VARCHAR,
    reason      VARCHAR,
    group_id    VARCHAR,
    trace_id    VARCHAR,
    call_number INTEGER,
    model       VARCHAR,
    git_commit  VARCHAR,
    opened_at   TIMESTAMP NOT NULL,
    failed      INTEGER,
    asked       INTEGER,
    recorded_at TIMESTAMP NOT NULL,
    record      JSON NOT NULL USING COMPRESSION zstd
);

-- What the index knows of itself and needs to go on; a rebuild makes these anew.

CREATE TABLE trace_parts (
    trace_id    VARCHAR NOT NULL,
    segment     VARCHAR NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    kind        VARCHAR NOT NULL,
    part        JSON
);

CREATE TABLE index_state (
    schema_version BIGINT NOT NULL,
    made_by        VARCHAR NOT NULL,
    cursor         JSON NOT NULL
);
