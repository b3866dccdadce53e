//! Values that no print, log, error or status ever shows.
//!
//! A [`Secret`] may be written as `file:/run/secrets/name`: then the file's content, without the line end, is the value.
//! An [`Address`] is a URL whose password is the secret part.

use std::fmt;

use serde_yaml_ng::Value;

use super::setting::{Setting, Shape};

const MASK: &str = "***";

/// A password, token or key. Has no `Serialize`, and `Debug` and `Display` are masked.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The value itself. Only for handing it to a client.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Secret {
        Secret(value.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        resolve(String::deserialize(deserializer)?).map(Secret).map_err(serde::de::Error::custom)
    }
}

impl Setting for Secret {
    fn print(&self) -> Value {
        MASK.into()
    }
    fn shape() -> Shape {
        Shape::Leaf("secret: text or `file:/path`".into())
    }
}

/// A URL, printed without its password.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Address(String);

impl Address {
    /// The whole URL, password included. Only for handing it to a client.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// `mysql` of `mysql://…`.
    pub(crate) fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// The same URL with this password; it is percent-encoded as URLs want it.
    pub(crate) fn with_password(&self, password: &Secret) -> Address {
        let Some((scheme, rest)) = self.0.split_once("://") else { return self.clone() };
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_end);
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let user = user.split_once(':').map_or(user, |(user, _)| user);
        let mut encoded = String::new();
        for byte in password.expose().bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        Address(format!("{scheme}://{user}:{encoded}@{host}{tail}"))
    }
}

impl From<&str> for Address {
    fn from(value: &str) -> Address {
        Address(value.to_owned())
    }
}

/// Masks the password of the authority, and the value of query keys that hold one.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (body, query) = self.0.split_once('?').map_or((self.0.as_str(), None), |(body, query)| (body, Some(query)));
        match body.split_once("://") {
            Some((scheme, rest)) => {
                // A password may hold an unescaped `/` or `@`: the last `@` of the body ends it, so that nothing leaks.
                let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
                write!(f, "{scheme}://")?;
                if let Some(user) = user {
                    match user.split_once(':') {
                        Some((name, _)) => write!(f, "{name}:{MASK}@")?,
                        None => write!(f, "{user}@")?,
                    }
                }
                f.write_str(host)?;
            }
            None => f.write_str(body)?,
        }
        for (at, pair) in query.iter().flat_map(|query| query.split('&')).enumerate() {
            f.write_str(if at == 0 { "?" } else { "&" })?;
            match pair.split_once('=') {
                Some((key, _)) if key.to_ascii_lowercase().contains("password") => write!(f, "{key}={MASK}")?,
                _ => f.write_str(pair)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> serde::Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        resolve(String::deserialize(deserializer)?).map(Address).map_err(serde::de::Error::custom)
    }
}

impl Setting for Address {
    fn print(&self) -> Value {
        self.to_string().into()
    }
    fn shape() -> Shape {
        Shape::Leaf("URL, or `file:/path` of a file that holds it".into())
    }
}

/// Reads `file:/path`; anything else is the value itself.
fn resolve(value: String) -> Result<String, String> {
    let Some(path) = value.strip_prefix("file:") else { return Ok(value) };
    let content = std::fs::read_to_string(path).map_err(|error| format!("cannot read the file {path}: {error}"))?;
    Ok(content.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_printing_shows_a_secret() {
        let secret = Secret::from("hunter2");
        let all = format!("{secret} {secret:?} {:?}", secret.print());
        assert!(!all.contains("hunter2"), "{all}");
    }

    #[test]
    fn an_address_is_printed_without_its_password() {
        let printed = |url: &str| Address::from(url).to_string();
        assert_eq!(printed("mysql://root:hunter2@db:3306/x?ssl=1"), "mysql://root:***@db:3306/x?ssl=1");
        assert_eq!(printed("mysql://root:p@/ss@db/x"), "mysql://root:***@db/x");
        assert_eq!(printed("postgres://db/x?user=a&password=hunter2"), "postgres://db/x?user=a&password=***");
        assert_eq!(printed("sqlite:demo.db"), "sqlite:demo.db");
        assert_eq!(format!("{:?}", Address::from("redis://:hunter2@r")), "redis://:***@r");
    }

    #[test]
    fn a_password_of_its_own_goes_into_the_address_encoded() {
        let address = Address::from("mysql://root@db:3306/x?y=1").with_password(&Secret::from("a/b@c"));
        assert_eq!(address.expose(), "mysql://root:a%2Fb%40c@db:3306/x?y=1");
    }

    #[test]
    fn a_secret_may_stand_in_a_file() {
        let path = std::env::temp_dir().join(format!("tidelock-secret-{}", std::process::id()));
        std::fs::write(&path, "hunter2\n").unwrap();
        assert_eq!(resolve(format!("file:{}", path.display())).unwrap(), "hunter2");
        std::fs::remove_file(&path).unwrap();
        assert!(resolve("file:/does/not/exist".into()).unwrap_err().contains("/does/not/exist"));
    }
}
