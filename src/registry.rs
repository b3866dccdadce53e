//! The schema registry's client, as the configuration says.

use avro::{Credentials, RegistryClient, RegistryOptions};

use crate::config::Kafka;

/// A client; nothing is sent yet.
///
/// # Errors
/// `Configuration`: no address, or a certificate file that cannot be used.
pub(crate) fn client(kafka: &Kafka) -> topology::Result<RegistryClient> {
    let mut options = RegistryOptions::new(kafka.registry.iter().cloned());
    if let (Some(user), Some(password)) = (&kafka.registry_user, &kafka.registry_password) {
        options.credentials = Credentials::Basic { user: user.clone(), password: password.expose().to_owned() };
    }
    if let Some(token) = &kafka.registry_token {
        options.credentials = Credentials::Bearer(token.expose().to_owned());
    }
    options.authority_file = kafka.registry_ca_file.as_ref().map(Into::into);
    options.identity_file = kafka.registry_identity_file.as_ref().map(Into::into);
    RegistryClient::new(&options)
}
