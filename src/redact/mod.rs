//! Secrets and personal data: found, and replaced by stable placeholders.
