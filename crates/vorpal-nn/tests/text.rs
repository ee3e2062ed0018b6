//! Texts as numbers and back.

#![allow(clippy::expect_used)]

use proptest::prelude::*;
use vorpal_nn::text::{ByteTokenizer, CharTokenizer, Tokenizer};

#[test]
fn what_stands_for_nothing_is_named() {
    let chars = CharTokenizer::of("aßb");
    assert_eq!(chars.chars(), ['a', 'b', 'ß']);
    let says = |result: vorpal_nn::Result<String>, part: &str| {
        let error = result.expect_err("no text").to_string();
        assert!(error.contains(part), "{error}");
    };
    says(chars.decode(&[0, 3]), "token 1 is 3, not below 3");
    says(chars.decode(&[-1]), "token 0 is -1");
    says(ByteTokenizer.decode(&[104, 256]), "token 1 is 256, not below 256");
    // Half a character is what a model says on the way to a whole one.
    assert_eq!(ByteTokenizer.decode(&[0xc3]), Ok("\u{fffd}".to_string()));
    assert_eq!((CharTokenizer::of("").vocabulary(), ByteTokenizer.vocabulary()), (0, 256));
}

proptest! {
    #[test]
    fn texts_come_back(text in ".{0,40}") {
        let chars = CharTokenizer::of(&text);
        for tokenizer in [&chars as &dyn Tokenizer, &ByteTokenizer] {
            let tokens = tokenizer.encode(&text).expect("numbers");
            prop_assert!(tokens.iter().all(|&t| (t as usize) < tokenizer.vocabulary()));
            prop_assert_eq!(tokenizer.decode(&tokens).expect("a text"), text.clone());
        }
    }
}

/// `golden/tokenizer.py` trained the tokenizer and wrote what it says.
#[cfg(feature = "tokenizers")]
#[test]
fn published_tokenizers_say_what_they_say_elsewhere() {
    use vorpal_nn::text::PublishedTokenizer;
    let (file, golden) = (include_bytes!("golden/tokenizer.json"), include_str!("golden/tokens.json"));
    let tokenizer = PublishedTokenizer::parse(file, "tokenizer.json").expect("a tokenizer");
    let golden: serde_json::Value = serde_json::from_str(golden).expect("a golden file");
    for case in golden.as_array().expect("cases") {
        let text = case["text"].as_str().expect("a text");
        let ids: Vec<i32> = case["ids"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|v| v.as_i64().expect("a number") as i32)
            .collect();
        assert_eq!(tokenizer.encode(text), Ok(ids.clone()), "{text}");
        assert_eq!(tokenizer.decode(&ids), Ok(case["decoded"].as_str().expect("a text").to_string()));
    }
    assert_eq!(tokenizer.token("[PAD]"), Some(0));
    let error = tokenizer.decode(&[1_000_000]).expect_err("no such token").to_string();
    assert!(error.contains("token 0 is 1000000"), "{error}");
    let error = PublishedTokenizer::parse(&file[..100], "tokenizer.json").expect_err("cut short").to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
}

/// Without a network; with one, there is no such model.
#[cfg(feature = "hub")]
#[test]
fn what_the_hub_does_not_give_is_named() {
    let error =
        vorpal_nn::text::hub_file("vorpal-nobody/nothing", "tokenizer.json").expect_err("nothing there");
    assert!(error.to_string().contains("vorpal-nobody/nothing/tokenizer.json"), "{error}");
}
