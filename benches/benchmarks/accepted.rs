//! The figures of a run and their comparison with the accepted ones. `cargo test --bench accepted` runs the unit tests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One measured value.
#[derive(Clone, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

impl Figure {
    /// `target` is such as `≤ 10`, with whether the value meets it.
    pub fn new(name: String, value: f64, unit: &str, target: Option<(String, bool)>) -> Self {
        let (target, met) = target.unzip();
        Self { name, value, unit: unit.to_owned(), target, met }
    }

    /// Returns whether this figure is worse than `accepted` by more than the tolerance of its unit. A shared machine
    /// disturbs times and rates more than ratios within one run. A figure of another kind has no tolerance: its target
    /// alone judges it.
    pub fn is_worse_than(&self, accepted: f64, same_machine: bool) -> bool {
        let tolerance = match self.unit.as_str() {
            // Nothing is a multiple of zero.
            _ if accepted == 0.0 => return false,
            "×" => 0.05,
            "MiB" => 0.1,
            "ms" | "/s" if same_machine => 0.25,
            _ => return false,
        };
        let more_is_better = match (&self.target, self.unit.as_str()) {
            (Some(target), _) => target.starts_with('≥'),
            (None, "/s") => true,
            // Nothing says which direction is better.
            (None, "×") => return false,
            (None, _) => false,
        };
        if more_is_better {
            self.value < accepted / (1.0 + tolerance)
        } else {
            self.value > accepted * (1.0 + tolerance)
        }
    }
}

/// Where figures were measured. Times of different machines are not compared.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Context {
    /// The commit, with `-dirty` if files differ from it.
    pub commit: Option<String>,
    pub cpu: Option<String>,
    /// 0 if the system does not tell.
    pub cores: usize,
    pub rustc: Option<String>,
}

impl Context {
    fn is_same_machine(&self, other: &Self) -> bool {
        self.cpu == other.cpu && self.cores == other.cores
    }
}

/// The figures of one part of the benchmark, with the context of their run.
#[derive(Clone, Serialize, Deserialize)]
pub struct Part {
    pub context: Context,
    pub figures: Vec<Figure>,
}

/// The figures of all parts that ran, by the name of the part.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Results(pub BTreeMap<String, Part>);

impl Results {
    /// Returns the value of a figure, and whether it is of the machine of `context`.
    pub fn value(&self, part: &str, name: &str, context: &Context) -> Option<(f64, bool)> {
        let part = self.0.get(part)?;
        let figure = part.figures.iter().find(|figure| figure.name == name)?;
        Some((figure.value, part.context.is_same_machine(context)))
    }

    /// Takes the parts of `latest` over. Other parts stay.
    pub fn accept(&mut self, latest: Self) {
        self.0.extend(latest.0);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_figure_is_worse_beyond_the_tolerance_of_its_unit() {
        use super::Figure;
        let cases = [
            (12.4, "ms", None, 10.0, false),
            (12.6, "ms", Some("≤ 50"), 10.0, true),
            (7.0, "/s", None, 10.0, true),
            (13.0, "/s", None, 10.0, false),
            (1.04, "×", Some("≤ 1.1"), 1.0, false),
            (1.06, "×", Some("≤ 1.1"), 1.0, true),
            (0.9, "×", Some("≥ 0.95"), 1.0, true),
            (9.0, "×", None, 1.0, false),
            (1.2, "ms", Some("≤ 20"), 0.0, false),
            (0.06, "", Some("≤ 0.1"), 0.01, false),
        ];
        for (value, unit, target, accepted, worse) in cases {
            let figure = Figure::new("x".into(), value, unit, target.map(|target: &str| (target.to_owned(), true)));
            assert_eq!(figure.is_worse_than(accepted, true), worse, "{value} {unit} {target:?}");
        }
    }

    #[test]
    fn times_of_another_machine_are_not_judged() {
        use super::Figure;
        assert!(!Figure::new("x".into(), 90.0, "ms", None).is_worse_than(10.0, false));
        let ratio = Figure::new("x".into(), 2.0, "×", Some(("≤ 3".into(), true)));
        assert!(ratio.is_worse_than(1.0, false));
    }

    #[test]
    fn accepting_keeps_the_parts_that_did_not_run() {
        use super::{Context, Figure, Part, Results};
        let results = |part: &str, value| {
            let figures = vec![Figure::new("x".into(), value, "ms", None)];
            Results([(part.to_owned(), Part { context: Context::default(), figures })].into())
        };
        let mut accepted = results("mail", 1.0);
        accepted.accept(results("start", 2.0));
        accepted.accept(results("start", 3.0));
        let value = |part: &str| accepted.value(part, "x", &Context::default());
        assert_eq!(value("mail"), Some((1.0, true)));
        assert_eq!(value("start"), Some((3.0, true)));
        assert_eq!(value("growth"), None);
        let json = serde_json::to_vec(&accepted).unwrap();
        assert_eq!(serde_json::from_slice::<Results>(&json).unwrap().0.len(), 2);
    }
}
