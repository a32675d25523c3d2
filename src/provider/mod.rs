//! HTTP bytes to calls and back, one file per wire format.
