//! Tasks of sequences that are made up and have a known answer.

use super::below;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Tokens of a date: 0 fills up, 1 begins, the others are the characters of [`date_text`].
pub const DATE_TOKENS: usize = 43;
/// Tokens of a date as people write it, filled up at the end.
pub const DATE_LENGTH: usize = 18;
const CHARACTERS: &[u8] = b" -./,0123456789abcdefghijklmnopqrstuvwxyz";

fn tokens(text: &str) -> Vec<i32> {
    let token = |b: u8| CHARACTERS.iter().position(|&c| c == b).map_or(0, |k| k as i32 + 2);
    text.bytes().map(token).collect()
}

/// The text of tokens, without what fills up.
///
/// ```
/// use vorpal_zoo::data::{date_text, dates};
/// let (asked, answer) = dates(1, 5).remove(0);
/// println!("{} is {}", date_text(&asked), date_text(&answer));
/// assert_eq!(answer.len(), 10);
/// ```
pub fn date_text(tokens: &[i32]) -> String {
    let character = |&t: &i32| usize::try_from(t - 2).ok().and_then(|k| CHARACTERS.get(k));
    tokens.iter().filter_map(character).map(|&b| char::from(b)).collect()
}

/// `count` dates from 1930 to 2029 as people write them in one of six ways, `DATE_LENGTH` tokens, each with the same date as
/// ISO 8601 has it, 10 tokens.
pub fn dates(count: usize, seed: u64) -> Vec<(Vec<i32>, Vec<i32>)> {
    let mut stream = seed;
    let mut one = || {
        let (year, month, day) =
            (1930 + below(&mut stream, 100), 1 + below(&mut stream, 12), 1 + below(&mut stream, 28));
        let name = MONTHS[month - 1];
        let asked = match below(&mut stream, 6) {
            0 => format!("{day} {name} {year}"),
            1 => format!("{name} {day}, {year}"),
            2 => format!("{day} {} {year}", &name[..3]),
            3 => format!("{}. {day} {year}", &name[..3]),
            4 => format!("{day}.{month}.{year}"),
            _ => format!("{day:02}/{month:02}/{year}"),
        };
        let mut asked = tokens(&asked);
        asked.resize(DATE_LENGTH, 0);
        (asked, tokens(&format!("{year}-{month:02}-{day:02}")))
    };
    (0..count).map(|_| one()).collect()
}

/// Selective copying (Gu & Dao 2023): `kept` tokens from 1 to `symbols` at places drawn at random among `length` tokens, all
/// others 0, then `kept` tokens `symbols + 1`, at which the tokens are wanted in their order.
///
/// ```
/// let (asked, answer) = vorpal_zoo::data::selective_copying(1, 8, 3, 4, 5).remove(0);
/// let seen: Vec<i32> = asked.iter().copied().filter(|&t| t != 0 && t != 5).collect();
/// assert_eq!((asked.len(), seen), (11, answer));
/// ```
pub fn selective_copying(
    count: usize,
    length: usize,
    kept: usize,
    symbols: usize,
    seed: u64,
) -> Vec<(Vec<i32>, Vec<i32>)> {
    let mut stream = seed;
    let mut one = || {
        let mut asked = vec![0i32; length];
        let mut left = kept.min(length);
        for (k, token) in asked.iter_mut().enumerate() {
            // So that every choice of places is as likely as any other.
            if below(&mut stream, length - k) < left {
                left -= 1;
                *token = 1 + below(&mut stream, symbols) as i32;
            }
        }
        let answer = asked.iter().copied().filter(|&t| t != 0).collect();
        asked.resize(length + kept.min(length), symbols as i32 + 1);
        (asked, answer)
    };
    (0..count).map(|_| one()).collect()
}

/// Associative recall (Graves, Wayne, Danihelka 2014; Arora et al. 2023): `pairs` of a key below `symbols` and a value from
/// `symbols`, no key twice, then all of them once more in another order; of these the values are wanted, and the last is not
/// told. Token `2 · pairs + 2 · k` asks for answer `k`.
///
/// ```
/// let (asked, answers) = vorpal_zoo::data::recall(1, 4, 8, 5).remove(0);
/// let at = asked[..8].iter().position(|key| key == &asked[14]).unwrap_or(8);
/// assert_eq!((asked.len(), asked[at + 1], asked[9]), (15, answers[3], answers[0]));
/// ```
pub fn recall(count: usize, pairs: usize, symbols: usize, seed: u64) -> Vec<(Vec<i32>, Vec<i32>)> {
    let mut stream = seed;
    let mut one = || {
        let mut mixed = |count: usize| {
            let mut list: Vec<usize> = (0..count).collect();
            (0..count).for_each(|k| list.swap(k, k + below(&mut stream, count - k)));
            list
        };
        let keys: Vec<i32> = mixed(symbols).into_iter().take(pairs).map(|key| key as i32).collect();
        let order = mixed(keys.len());
        let values: Vec<i32> = keys.iter().map(|_| (symbols + below(&mut stream, symbols)) as i32).collect();
        let again = order.iter().copied();
        let mut asked: Vec<i32> =
            (0..keys.len()).chain(again.clone()).flat_map(|k| [keys[k], values[k]]).collect();
        asked.pop();
        (asked, again.map(|k| values[k]).collect())
    };
    (0..count).map(|_| one()).collect()
}
