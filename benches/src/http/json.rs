//! A body of 1 KiB, made anew for each request, as a small service makes it from its data.

use serde::Serialize;

/// Bytes of the body.
const LEN: usize = 1024;

#[derive(Serialize)]
struct Page {
    title: &'static str,
    offset: u32,
    total: u64,
    items: [Item; 9],
}

#[derive(Serialize)]
struct Item {
    id: u64,
    name: &'static str,
    price: f64,
    stock: u32,
    is_new: bool,
    tags: [&'static str; 2],
}

/// Serialises into memory that is large enough from the start.
pub fn kibibyte() -> Vec<u8> {
    let items = std::array::from_fn(|index| Item {
        id: 1_000_003 * (index as u64 + 1),
        name: "Widget, \"large\"",
        price: 19.99,
        stock: 42,
        is_new: index % 2 == 0,
        tags: ["garden", "steel"],
    });
    let page = Page { title: "Products", offset: 0, total: 1_234_567, items };
    let mut body = Vec::with_capacity(LEN);
    serde_json::to_writer(&mut body, &page).expect("plain data has a form in JSON");
    body
}

/// Whether `body` is the value of [`kibibyte`], and that has the form which the case promises.
pub fn is_right(body: &[u8]) -> bool {
    body.len() == LEN && body == kibibyte()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_kibibyte_of_json() {
        let body = kibibyte();
        let text = String::from_utf8(body.clone()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["items"][8]["id"], 9_000_027);
        assert_eq!(body.len(), LEN, "{text}");
        assert_eq!(body.capacity(), LEN);
        assert!(is_right(&body) && !is_right(&body[1..]));
    }
}
