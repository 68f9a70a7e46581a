//! The program `ringloop`, asking processes that this test starts.
