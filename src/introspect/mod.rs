//! What a running process says of itself: to its own program, and to others that ask it by its number.

mod attach;
