//! What a commit or tag carries to say who stands behind it: read strictly, looked up in the policy, then checked.

use super::commit::{Signature, SignatureKind};
use super::examine::shown_time;
use super::key::PublicKey;
use super::policy::Policy;
use super::rejection::Reason;
use super::sshsig::{self, Envelope, SignatureError};

/// What an object carries to say who stands behind it. Nothing of it is proven.
pub(super) enum Attestation {
    /// Nothing.
    Unsigned,
    /// A signature of a kind that is not accepted.
    Foreign(SignatureKind),
    /// An SSH signature.
    Ssh(Box<Envelope>),
}

impl Attestation {
    /// Reads a signature strictly.
    pub fn of(signature: Option<&Signature>) -> Result<Attestation, Reason> {
        let Some(signature) = signature else { return Ok(Attestation::Unsigned) };
        if signature.kind != SignatureKind::Ssh {
            return Ok(Attestation::Foreign(signature.kind));
        }
        let envelope = Envelope::parse(&signature.armoured, sshsig::GIT).map_err(|error| match error {
            SignatureError::Namespace(..) => Reason::Namespace(error),
            SignatureError::Key(_) => Reason::Unsupported(error.to_string()),
            _ => Reason::BadEnvelope(error),
        });
        match envelope {
            Ok(envelope) => Ok(Attestation::Ssh(Box::new(envelope))),
            Err(reason) => Err(reason),
        }
    }

    /// The key that it says it was made with.
    pub fn key(&self) -> Option<&PublicKey> {
        match self {
            Attestation::Ssh(envelope) => Some(&envelope.key),
            Attestation::Unsigned | Attestation::Foreign(_) => None,
        }
    }

    /// The principal of the policy who made it: first whether the key counts, then whether the signature does. Where no principal
    /// stands behind it, and nothing about it is forged, the inner error says why; a seal may make up for that.
    pub fn principal(
        &self,
        policy: &Policy,
        payload: &[u8],
        now: i64,
    ) -> Result<Result<Signer, Reason>, Reason> {
        let envelope = match self {
            Attestation::Ssh(envelope) => envelope,
            Attestation::Unsigned => return Ok(Err(Reason::Unsigned)),
            Attestation::Foreign(kind) => return Ok(Err(Reason::foreign(*kind))),
        };
        let Some(holder) = policy.holder(&envelope.key) else { return Ok(Err(Reason::UnknownKey)) };
        let signer = Signer { principal: holder.principal.clone(), key: envelope.key.clone() };
        if let Some(last) = holder.not_after.filter(|last| now > *last) {
            return Ok(Err(Reason::ExpiredKey { principal: signer.principal, at: shown_time(last) }));
        }
        self.prove(payload)?;
        Ok(Ok(signer))
    }

    /// Proves that the holder of its key made it; whose key that is does not matter.
    pub fn prove(&self, payload: &[u8]) -> Result<(), Reason> {
        let Attestation::Ssh(envelope) = self else { return Err(Reason::Unsigned) };
        envelope.verify(payload).map_err(|error| match error {
            SignatureError::Touch => Reason::Untouched,
            _ => Reason::BadSignature,
        })
    }
}

/// A principal whose signature was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signer {
    pub principal: String,
    pub key: PublicKey,
}
