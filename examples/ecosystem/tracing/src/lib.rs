//! Spans of tracing and of OpenTelemetry around tasks of ringloop: see the tests.
