//! What a call costs: a table of prices as data (`pricing.toml`), and the tokens that the provider reports.
//!
//! Money is whole micro-dollars, rounded up once for each call. A model that the table does not know has no price:
//! that is `None`, never zero.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Deserialize;

use super::Usage;

/// The table that ships.
const BUILTIN: &str = include_str!("pricing.toml");
/// The highest price that a table may name, in dollars for a million tokens: above it somebody mistook the unit.
const MAX_DOLLARS: f64 = 100_000.0;

/// Prices by model.
#[derive(Debug, Clone, PartialEq)]
pub struct Pricing {
    models: BTreeMap<String, Entry>,
}

/// What the table knows of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelStatus {
    /// It has a price, and no end is in sight.
    Priced,
    /// Nobody knows what it costs.
    Unpriced,
    /// The provider answers with it only until a day, which may have passed.
    Retired {
        /// The first day without it.
        on: Date,
        /// What to use instead, where the provider says.
        successor: Option<String>,
    },
}

/// Why a table of prices is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It is not a table of prices.
    #[error("the table of prices cannot be read: {0}")]
    Malformed(#[from] toml::de::Error),
    /// A price makes no sense.
    #[error("model {model}: `{name}` must be 0 to {MAX_DOLLARS} dollars for a million tokens, not {dollars}")]
    Price {
        /// The model.
        model: String,
        /// Which of its prices.
        name: &'static str,
        /// What the table says.
        dollars: f64,
    },
}

impl Pricing {
    /// The prices that ship.
    pub fn builtin() -> Self {
        Self { models: parse(BUILTIN).expect("the shipped table is checked by a test") }
    }

    /// The prices that ship, and over them those of a table of the same form: a model that it names is taken whole
    /// from there.
    ///
    /// # Errors
    /// [`Error`] where the table cannot be read or a price makes no sense.
    pub fn with_overrides(toml: &str) -> Result<Self, Error> {
        let mut pricing = Self::builtin();
        pricing.models.extend(parse(toml)?);
        Ok(pricing)
    }

    /// What a call cost, in micro-dollars, rounded up; `None` where nobody knows the model's price.
    pub fn cost_micro_usd(&self, model: &str, usage: &Usage) -> Option<u64> {
        let prices = self.entry(model)?.prices;
        let total = [
            (usage.input_tokens, prices.input),
            (usage.output_tokens, prices.output),
            (usage.cache_read_tokens, prices.cache_read),
            (usage.cache_write_5m_tokens, prices.cache_write_5m),
            (usage.cache_write_1h_tokens, prices.cache_write_1h),
        ]
        .into_iter()
        .map(|(tokens, price)| u128::from(tokens) * u128::from(price))
        .sum::<u128>();
        Some(u64::try_from(total.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// What a call cost at most, by the dearest model of the table: the bill of one whose price nobody knows.
    pub fn at_most_micro_usd(&self, usage: &Usage) -> u64 {
        self.models.keys().filter_map(|model| self.cost_micro_usd(model, usage)).max().unwrap_or(0)
    }

    /// Whether a model has a price and a future.
    pub fn status(&self, model: &str) -> ModelStatus {
        match self.entry(model) {
            None => ModelStatus::Unpriced,
            Some(Entry { retires: Some(on), successor, .. }) => {
                ModelStatus::Retired { on: *on, successor: successor.clone() }
            }
            Some(_) => ModelStatus::Priced,
        }
    }

    /// The model's entry, or that of its name without the date at the end.
    fn entry(&self, model: &str) -> Option<&Entry> {
        self.models.get(model).or_else(|| {
            let (name, date) = model.rsplit_once('-')?;
            let dated = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
            dated.then(|| self.models.get(name)).flatten()
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    prices: Prices,
    retires: Option<Date>,
    successor: Option<String>,
}

/// Micro-dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Prices {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
}

/// A table as somebody writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    models: BTreeMap<String, Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    input: f64,
    output: f64,
    cache_read: Option<f64>,
    cache_write_5m: Option<f64>,
    cache_write_1h: Option<f64>,
    retires: Option<Date>,
    successor: Option<String>,
}

fn parse(toml: &str) -> Result<BTreeMap<String, Entry>, Error> {
    let table: Table = toml::from_str(toml)?;
    table.models.into_iter().map(|(model, row)| Ok((model.clone(), entry(&model, row)?))).collect()
}

fn entry(model: &str, row: Row) -> Result<Entry, Error> {
    let price = |name, dollars: f64| {
        if (0.0..=MAX_DOLLARS).contains(&dollars) {
            Ok((dollars * 1e6).round() as u64)
        } else {
            Err(Error::Price { model: model.to_owned(), name, dollars })
        }
    };
    Ok(Entry {
        prices: Prices {
            input: price("input", row.input)?,
            output: price("output", row.output)?,
            cache_read: price("cache_read", row.cache_read.unwrap_or(row.input * 0.1))?,
            cache_write_5m: price("cache_write_5m", row.cache_write_5m.unwrap_or(row.input * 1.25))?,
            cache_write_1h: price("cache_write_1h", row.cache_write_1h.unwrap_or(row.input * 2.0))?,
        },
        retires: row.retires,
        successor: row.successor,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLION: u64 = 1_000_000;

    fn usage(input: u64, output: u64, cache_read: u64, five_minutes: u64, hour: u64) -> Usage {
        Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_tokens: cache_read,
            cache_write_5m_tokens: five_minutes,
            cache_write_1h_tokens: hour,
        }
    }

    #[test]
    fn every_sort_of_token_of_the_default_model_costs_what_the_price_list_says() {
        let cost = |usage| Pricing::builtin().cost_micro_usd("claude-sonnet-5-5", &usage);
        assert_eq!(cost(usage(MILLION, 0, 0, 0, 0)), Some(2_000_000));
        assert_eq!(cost(usage(0, MILLION, 0, 0, 0)), Some(10_000_000));
        assert_eq!(cost(usage(0, 0, MILLION, 0, 0)), Some(200_000));
        assert_eq!(cost(usage(0, 0, 0, MILLION, 0)), Some(2_500_000));
        assert_eq!(cost(usage(0, 0, 0, 0, MILLION)), Some(4_000_000));
        assert_eq!(cost(usage(MILLION, MILLION, MILLION, MILLION, MILLION)), Some(18_700_000));
    }

    #[test]
    fn a_part_of_a_micro_dollar_is_rounded_up_once() {
        let cost = |usage| Pricing::builtin().cost_micro_usd("claude-sonnet-5-5", &usage);
        assert_eq!(cost(usage(0, 0, 1, 0, 0)), Some(1), "a fifth of a micro-dollar");
        assert_eq!(cost(usage(0, 0, 5, 0, 0)), Some(1));
        assert_eq!(cost(usage(0, 0, 6, 0, 0)), Some(2));
        assert_eq!(cost(Usage::default()), Some(0));
    }

    #[test]
    fn a_model_without_a_price_is_not_free() {
        let pricing = Pricing::builtin();
        assert_eq!(pricing.cost_micro_usd("gpt-of-tomorrow", &usage(1, 1, 0, 0, 0)), None);
        assert_eq!(pricing.status("gpt-of-tomorrow"), ModelStatus::Unpriced);
        assert_eq!(pricing.status("claude-sonnet-5-5"), ModelStatus::Priced);
    }

    #[test]
    fn a_dated_name_costs_what_its_alias_costs_and_retires_with_it() {
        let pricing = Pricing::builtin();
        let usage = usage(1000, 1000, 0, 0, 0);
        assert_eq!(pricing.cost_micro_usd("claude-haiku-4-5-20251001", &usage), Some(6_000));
        assert_eq!(
            pricing.status("claude-sonnet-4-5-20250929"),
            ModelStatus::Retired {
                on: jiff::civil::date(2026, 11, 30),
                successor: Some("claude-sonnet-5-5".to_owned())
            }
        );
        assert_eq!(pricing.status("claude-haiku-4-5-thinking"), ModelStatus::Unpriced);
    }

    #[test]
    fn an_override_replaces_a_model_whole_and_adds_others() {
        let pricing = Pricing::with_overrides(
            "[models.claude-sonnet-5-5]\ninput = 1.0\noutput = 2\n[models.house-model]\ninput = 0\noutput = 0.25",
        )
        .expect("a good table");
        let usage = usage(10, 10, 10, 0, 0);
        assert_eq!(pricing.cost_micro_usd("claude-sonnet-5-5", &usage), Some(31));
        assert_eq!(pricing.cost_micro_usd("house-model", &usage), Some(3));
        assert_eq!(pricing.status("claude-opus-5-5"), ModelStatus::Priced, "the others stay");
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused_with_its_reason() {
        let refusal = |toml: &str| Pricing::with_overrides(toml).expect_err("a bad table").to_string();
        assert!(refusal("[models.x]\ninput = -1\noutput = 1").contains("model x: `input`"));
        assert!(refusal("[models.x]\ninput = nan\noutput = 1").contains("model x: `input`"));
        assert!(refusal("[models.x]\ninput = 1").contains("output"));
        assert!(refusal("[models.x]\ninput = 1\noutput = 1\ncached = 1").contains("cached"));
        assert!(refusal("prices").contains("cannot be read"));
    }

    proptest! {
        #[test]
        fn two_calls_never_cost_less_than_one_of_both(a in 0u64..1 << 40, b in 0u64..1 << 40) {
            let pricing = Pricing::builtin();
            let cost = |n| pricing.cost_micro_usd("claude-sonnet-5-5", &usage(n, n, n, n, n)).expect("priced");
            prop_assert!(cost(a) + cost(b) >= cost(a + b));
            prop_assert!(cost(a) + cost(b) <= cost(a + b) + 1);
        }
    }
}
