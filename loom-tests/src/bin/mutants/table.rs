//! The mutants.

/// One mistake that a model has to notice.
pub struct Mutant {
    /// What is wrong with it.
    pub name: &'static str,
    /// Below `src/`.
    pub file: &'static str,
    /// Stands there exactly once.
    pub text: &'static str,
    /// What it gives way to.
    pub replacement: &'static str,
    /// The test that has to fail.
    pub model: &'static str,
}

/// All of them, by protocol.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "park: no fence before the final look",
        file: "scheduler/idle.rs",
        text: "        fence(Ordering::SeqCst);\n        if !has_work() {",
        replacement: "        if !has_work() {",
        model: "push_and_park::two_pushers",
    },
    Mutant {
        name: "notify: no fence after the push",
        file: "scheduler/idle.rs",
        text: "        // N2. Pairs with P2.\n        fence(Ordering::SeqCst);\n",
        replacement: "",
        model: "push_and_park::two_pushers",
    },
];
