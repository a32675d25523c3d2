//! Numbers to estimates. Knows no domain type.
