//! Suite x variant x k to trials, grades and a run record.
