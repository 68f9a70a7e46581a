//! What a source file refers to, and how large it is.

use std::collections::{BTreeSet, HashMap};

use super::lexer::{Kind, Token, tokens};

/// A path in the code or in a `use`, as far as this file can resolve it: it starts
/// with `crate`, `std` or the name of another crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its segments; a glob import ends in `*`.
    pub path: Vec<String>,
    /// Its line.
    pub line: usize,
    /// Whether only tests compile it.
    pub test: bool,
}

/// A function and the lines it covers.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`.
    pub line: usize,
    /// Lines up to and with the closing brace.
    pub lines: usize,
}

/// What the rules need to know of a file. Functions and lines of tests are left out.
#[derive(Debug)]
pub struct Source {
    /// Every path.
    pub references: Vec<Reference>,
    /// Every function with a body.
    pub functions: Vec<Function>,
    /// Lines that hold more than comments.
    pub code_lines: usize,
    /// Lines with the keyword `unsafe`.
    pub unsafe_lines: Vec<usize>,
    /// Lines that test `cfg(loom)`.
    pub loom_cfg_lines: Vec<usize>,
    /// Modules in files of their own that only tests compile.
    pub test_modules: Vec<String>,
    /// Names bound by a `use`.
    pub imported: BTreeSet<String>,
}

/// Parses the file of `module`, a path from `crate` on.
pub fn parse(module: &[String], source: &str) -> Source {
    let tokens = tokens(source);
    let parser = Parser {
        module,
        test: test_code(&tokens),
        inline: inline_modules(&tokens),
        children: child_modules(&tokens),
        tokens: &tokens,
    };
    let (imports, in_use) = parser.imports();
    Source {
        references: parser.references(&imports, &in_use),
        functions: parser.functions(),
        code_lines: parser.code_lines(),
        unsafe_lines: parser.lines_of("unsafe"),
        loom_cfg_lines: parser.loom_cfg_lines(),
        test_modules: parser.test_modules(),
        imported: imports.into_iter().map(|import| import.name).collect(),
    }
}

struct Parser<'a> {
    module: &'a [String],
    tokens: &'a [Token<'a>],
    /// For each token, whether only tests compile it.
    test: Vec<bool>,
    /// For each token, the modules opened in this file around it.
    inline: Vec<Vec<String>>,
    /// Modules declared at the top of this file.
    children: BTreeSet<String>,
}

/// One leaf of a `use` tree.
struct Import {
    path: Vec<String>,
    name: String,
    at: usize,
}

impl Parser<'_> {
    fn references(&self, imports: &[Import], in_use: &[bool]) -> Vec<Reference> {
        let names: HashMap<_, _> =
            imports.iter().map(|import| (import.name.as_str(), &import.path)).collect();
        let mut paths: Vec<_> = imports.iter().map(|i| (i.path.clone(), i.at)).collect();
        paths.extend(self.code_paths(in_use));
        paths
            .into_iter()
            .map(|(path, at)| Reference {
                path: self.resolve(path, at, &names),
                line: self.tokens[at].line,
                test: self.test[at],
            })
            .collect()
    }

    /// Every leaf of every `use`, and which tokens belong to one.
    fn imports(&self) -> (Vec<Import>, Vec<bool>) {
        let (mut imports, mut in_use) = (Vec::new(), vec![false; self.tokens.len()]);
        let mut at = 0;
        while at < self.tokens.len() {
            // `impl Trait + use<'a>` is no import.
            if self.is(at, "use") && !self.is(at + 1, "<") {
                let end = self.use_tree(at + 1, &[], &mut imports);
                in_use[at..end.min(self.tokens.len())].fill(true);
                at = end;
            } else {
                at += 1;
            }
        }
        (imports, in_use)
    }

    /// Reads one tree from `at` on below `prefix`, and returns where it ends.
    fn use_tree(&self, mut at: usize, prefix: &[String], imports: &mut Vec<Import>) -> usize {
        let mut path = prefix.to_vec();
        let start = at;
        if self.is(at, "::") && prefix.is_empty() {
            path.push("::".to_owned());
            at += 1;
        }
        while at < self.tokens.len() {
            let token = &self.tokens[at];
            if token.is("{") {
                at += 1;
                while at < self.tokens.len() && !self.is(at, "}") {
                    at = self.use_tree(at, &path, imports);
                    at += usize::from(self.is(at, ","));
                }
                return at + 1;
            } else if token.is("::") {
                at += 1;
            } else if token.is("*") || token.kind == Kind::Word && !token.is("as") {
                path.push(token.text.to_owned());
                at += 1;
            } else {
                break;
            }
        }
        // `a::{self}` names `a`.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let renamed = self.is(at, "as");
        let name = if renamed { self.text(at + 1) } else { path.last().map_or("", String::as_str) };
        // In a macro's body, `use $crate::..` is resolved where the macro is called.
        if !path.is_empty() {
            imports.push(Import { name: name.to_owned(), path, at: start });
        }
        at + if renamed { 2 } else { 0 }
    }

    /// Paths of two segments and more outside of `use`.
    fn code_paths(&self, in_use: &[bool]) -> Vec<(Vec<String>, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            // `$crate::__..` in a macro's body is resolved where the macro is called: only the root
            // has such names.
            let hidden = self.tokens.get(at + 2).is_some_and(|next| next.text.starts_with("__"));
            let of_macro = at > 0 && self.is(at - 1, "$") && hidden;
            let word = self.tokens[at].kind == Kind::Word && !of_macro;
            let starts = word && self.is(at + 1, "::");
            if in_use[at] || !starts {
                at += 1;
                continue;
            }
            let global = at > 0 && self.is(at - 1, "::");
            let mut path = if global { vec!["::".to_owned()] } else { Vec::new() };
            path.push(self.text(at).to_owned());
            let start = at;
            while self.is(at + 1, "::")
                && self.tokens.get(at + 2).is_some_and(|next| next.kind == Kind::Word)
            {
                at += 2;
                path.push(self.text(at).to_owned());
            }
            found.push((path, start));
            at += 1;
        }
        found
    }

    /// Makes a path absolute, as far as the imports of this file allow.
    fn resolve(
        &self,
        mut path: Vec<String>,
        at: usize,
        names: &HashMap<&str, &Vec<String>>,
    ) -> Vec<String> {
        // An import may build on another; limited, because two may name each other.
        for _ in 0..4 {
            match names.get(path[0].as_str()) {
                Some(full) if full[0] != path[0] => {
                    path = full.iter().cloned().chain(path.into_iter().skip(1)).collect();
                }
                _ => break,
            }
        }
        match path[0].as_str() {
            "::" => path.split_off(1),
            "crate" => path,
            "self" | "super" => {
                let mut base: Vec<String> =
                    self.module.iter().chain(&self.inline[at]).cloned().collect();
                let rest = path.iter().skip_while(|segment| match segment.as_str() {
                    "self" => true,
                    "super" => base.pop().is_some(),
                    _ => false,
                });
                let rest: Vec<_> = rest.cloned().collect();
                base.into_iter().chain(rest).collect()
            }
            "core" | "alloc" => {
                path[0] = "std".to_owned();
                path
            }
            child if self.children.contains(child) => {
                self.module.iter().cloned().chain(path).collect()
            }
            _ => path,
        }
    }

    fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            let named = self.tokens.get(at + 1).is_some_and(|next| next.kind == Kind::Word);
            if !self.is(at, "fn") || !named || self.test[at] {
                continue;
            }
            let end = item_end(self.tokens, at);
            if self.is(end, "}") {
                let line = self.tokens[at].line;
                let lines = self.tokens[end].line - line + 1;
                found.push(Function { name: self.text(at + 1).to_owned(), line, lines });
            }
        }
        found
    }

    fn code_lines(&self) -> usize {
        let code = self.tokens.iter().zip(&self.test).filter(|(_, test)| !**test);
        let lines: BTreeSet<_> = code.flat_map(|(token, _)| token.line..=token.last_line).collect();
        lines.len()
    }

    fn lines_of(&self, word: &str) -> Vec<usize> {
        self.tokens.iter().filter(|token| token.is(word)).map(|token| token.line).collect()
    }

    fn loom_cfg_lines(&self) -> Vec<usize> {
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            if !(self.is(at, "cfg") || self.is(at, "cfg_attr")) {
                continue;
            }
            let open = at + 1 + usize::from(self.is(at + 1, "!"));
            if self.is(open, "(") {
                let close = matching(self.tokens, open);
                // Of `cfg_attr` only the first argument is a condition.
                let mut condition = &self.tokens[open..close];
                if self.is(at, "cfg_attr") {
                    let end = condition.iter().position(|token| token.is(","));
                    condition = &condition[..end.unwrap_or(condition.len())];
                }
                if condition.iter().any(|token| token.is("loom")) {
                    found.push(self.tokens[at].line);
                }
            }
        }
        found
    }

    fn test_modules(&self) -> Vec<String> {
        let declared = |at: &usize| self.is(*at, "mod") && self.is(at + 2, ";") && self.test[*at];
        (0..self.tokens.len()).filter(declared).map(|at| self.text(at + 1).to_owned()).collect()
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(text))
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text)
    }
}

/// Marks the tokens below `#[cfg(test)]` and the like.
fn test_code(tokens: &[Token<'_>]) -> Vec<bool> {
    let mut marks = vec![false; tokens.len()];
    for at in 0..tokens.len() {
        let is = |offset: usize, text| {
            tokens.get(at + offset).is_some_and(|token: &Token<'_>| token.is(text))
        };
        let inner = is(1, "!");
        let open = if inner { 2 } else { 1 };
        if !(is(0, "#") && is(open, "[") && is(open + 1, "cfg")) {
            continue;
        }
        let close = matching(tokens, at + open);
        let condition = &tokens[at + open..close];
        let says = |word| condition.iter().any(|token| token.is(word));
        if says("test") && !says("not") {
            let end = if inner { tokens.len() - 1 } else { item_end(tokens, close + 1) };
            marks[at..=end.min(tokens.len() - 1)].fill(true);
        }
    }
    marks
}

/// For each token, the names of the modules whose braces stand around it.
fn inline_modules(tokens: &[Token<'_>]) -> Vec<Vec<String>> {
    let mut open: Vec<(String, usize)> = Vec::new();
    let mut found = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        open.retain(|(_, close)| *close >= at);
        found.push(open.iter().map(|(name, _)| name.clone()).collect());
        if token.is("mod") && tokens.get(at + 2).is_some_and(|next| next.is("{")) {
            open.push((tokens[at + 1].text.to_owned(), matching(tokens, at + 2)));
        }
    }
    found
}

fn child_modules(tokens: &[Token<'_>]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for window in tokens.windows(3) {
        if window[0].is("mod") && (window[2].is(";") || window[2].is("{")) {
            found.insert(window[1].text.to_owned());
        }
    }
    found
}

/// The token that closes the group that `tokens[open]` opens, or the last one.
fn matching(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if ["(", "[", "{"].iter().any(|sign| token.is(sign)) {
            depth += 1;
        } else if [")", "]", "}"].iter().any(|sign| token.is(sign)) {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    tokens.len().saturating_sub(1)
}

/// The last token of the item that starts at `at`: its `;` or its closing brace.
fn item_end(tokens: &[Token<'_>], mut at: usize) -> usize {
    let mut import = false;
    while at < tokens.len() {
        if tokens[at].is("(") || tokens[at].is("[") || import && tokens[at].is("{") {
            at = matching(tokens, at);
        } else if tokens[at].is("{") {
            return matching(tokens, at);
        } else if tokens[at].is(";") {
            return at;
        } else {
            import |= tokens[at].is("use");
        }
        at += 1;
    }
    tokens.len().saturating_sub(1)
}
