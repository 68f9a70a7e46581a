//! The program `ringloop`, asking processes that this test starts: itself, in roles.

#[path = "inspect/cost.rs"]
mod cost;
#[path = "inspect/doctor.rs"]
mod doctor;
#[path = "../examples/five_faults.rs"]
mod five_faults;
#[path = "inspect/hostile.rs"]
mod hostile;
#[path = "inspect/outside.rs"]
mod outside;
#[path = "inspect/roles.rs"]
mod roles;
