//! The name of a robot account at Quay.

use std::fmt;

/// `NAMESPACE+NAME` as Quay accepts it: two parts of 2 to 255 characters, each of lower-case
/// letters and digits with single `.`, `_` or `-` between them. Parsed once, never checked again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RobotName(String);

/// Why a text is no robot name, with the name that was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotARobotName {
    /// What is wrong with it, as the end of a sentence that begins with the name.
    pub reason: &'static str,
    /// A name that Quay could have, where one is evident.
    pub meant: Option<String>,
}

impl RobotName {
    /// Parses the full name of a robot.
    pub fn parse(text: &str) -> Result<Self, NotARobotName> {
        match fault_of(text) {
            None => Ok(Self(text.to_owned())),
            Some(reason) => {
                let guess = text.trim().to_lowercase();
                let meant = fault_of(&guess).is_none().then_some(guess);
                Err(NotARobotName { reason, meant })
            }
        }
    }

    /// The full name, as it stands in the user name of a login.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The organization or user that the robot belongs to.
    pub fn namespace(&self) -> &str {
        self.0.split_once('+').map_or("", |(namespace, _)| namespace)
    }

    /// The name after the `+`.
    pub fn short_name(&self) -> &str {
        self.0.split_once('+').map_or("", |(_, name)| name)
    }
}

impl fmt::Display for RobotName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn fault_of(text: &str) -> Option<&'static str> {
    let Some((namespace, name)) = text.split_once('+') else {
        return Some("has no `+` between namespace and name");
    };
    if name.contains('+') {
        return Some("has more than one `+`");
    }
    [namespace, name].into_iter().find_map(fault_of_part)
}

fn fault_of_part(part: &str) -> Option<&'static str> {
    let is_letter_or_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    if !(2..=255).contains(&bytes.len()) {
        return Some("has a namespace or name that is not 2 to 255 characters long");
    }
    if !bytes.iter().all(|&byte| is_letter_or_digit(byte) || b"._-".contains(&byte)) {
        return Some("has a character other than a-z, 0-9, `.`, `_` and `-`");
    }
    let separators_stand_alone =
        bytes.windows(2).all(|pair| is_letter_or_digit(pair[0]) || is_letter_or_digit(pair[1]));
    let ends = [bytes[0], bytes[bytes.len() - 1]];
    if !separators_stand_alone || !ends.into_iter().all(is_letter_or_digit) {
        return Some("has a `.`, `_` or `-` that does not stand between letters or digits");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_robot_has_a_namespace_and_a_short_name() {
        let robot = RobotName::parse("acme-corp+ci_1.x").expect("a robot name");
        assert_eq!((robot.namespace(), robot.short_name()), ("acme-corp", "ci_1.x"));
    }

    #[test]
    fn names_that_quay_could_not_have_are_refused() {
        let long = format!("{}+ci", "a".repeat(256));
        for text in [
            "",
            "acme",
            "acme+",
            "+ci",
            "a+ci",
            "acme+c",
            "acme+ci+x",
            "ACME+ci",
            "acme+c i",
            "acme+cï",
            "acme+-ci",
            "acme+ci-",
            "acme+c..i",
            "acme+c._i",
            "acme/x+ci",
            &long,
        ] {
            assert!(RobotName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_in_upper_case_is_answered_with_the_one_that_was_meant() {
        let error = RobotName::parse(" ACME+Ci").expect_err("no robot name");
        assert_eq!(error.meant.as_deref(), Some("acme+ci"));
    }
}
