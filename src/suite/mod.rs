//! What we ask: suites, tasks, rubrics, graders' configurations, targets.
