//! Holds user and password without showing the password.

use std::fmt;

/// The user of a store that has no named user.
const DEFAULT_USER: &str = "default";

/// A user and a password. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: Option<String>,
    password: String,
}

impl Credentials {
    /// Credentials of `user`, or of the default user. `None` without a password.
    #[must_use]
    pub fn new(user: Option<&str>, password: &str) -> Option<Self> {
        let user = user.filter(|user| !user.is_empty()).map(str::to_owned);
        (!password.is_empty()).then(|| Self { user, password: password.to_owned() })
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        self.user.as_deref().unwrap_or(DEFAULT_USER)
    }

    /// Whether a user is named. Servers before Redis 6 have no users.
    #[must_use]
    pub const fn names_user(&self) -> bool {
        self.user.is_some()
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let login = Credentials::new(Some("ops"), "secret").unwrap();
        assert!(!format!("{login:?}").contains("secret"));
        assert_eq!(Credentials::new(Some("ops"), ""), None);
        assert!(!Credentials::new(Some(""), "x").unwrap().names_user());
    }
}
