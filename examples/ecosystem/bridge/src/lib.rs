//! Libraries that need tokio's runtime, in tasks of ringloop: see the tests.
