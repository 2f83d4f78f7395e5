//! What a commit or tag carries to say who stands behind it: read strictly, looked up in the policy, then checked.

use std::cell::OnceCell;

use super::commit::{Signature, SignatureKind};
use super::examine::shown_time;
use super::openpgp;
use super::policy::{Holder, Key, Policy};
use super::rejection::Reason;
use super::root::IntroductionKey;
use super::sshsig::{self, Envelope, SignatureError};

/// What an object carries to say who stands behind it. Nothing of it is proven.
pub(super) enum Attestation {
    /// Nothing.
    Unsigned,
    /// A signature of a kind that is not accepted.
    Foreign(SignatureKind),
    /// An SSH signature.
    Ssh(Box<Envelope>),
    /// An OpenPGP signature.
    OpenPgp(Box<OpenPgp>),
}

/// An OpenPGP signature: bytes, until a policy that lists such keys asks what they say.
pub(super) struct OpenPgp {
    armoured: Vec<u8>,
    read: OnceCell<Result<openpgp::Signature, SignatureError>>,
}

impl OpenPgp {
    fn read(&self, policy: &Policy) -> Result<&openpgp::Signature, Reason> {
        if !policy.takes_openpgp() {
            return Err(Reason::foreign(SignatureKind::OpenPgp));
        }
        let read = self.read.get_or_init(|| openpgp::Signature::parse(&self.armoured));
        read.as_ref().map_err(|error| match error {
            SignatureError::Algorithm(_) => Reason::Unsupported(error.to_string()),
            _ => Reason::BadEnvelope(error.clone()),
        })
    }
}

impl Attestation {
    /// Reads a signature strictly; one of OpenPGP stays unread.
    pub fn of(signature: Option<&Signature>) -> Result<Attestation, Reason> {
        let Some(signature) = signature else { return Ok(Attestation::Unsigned) };
        match signature.kind {
            SignatureKind::X509 => return Ok(Attestation::Foreign(signature.kind)),
            SignatureKind::OpenPgp => {
                let armoured = signature.armoured.clone();
                return Ok(Attestation::OpenPgp(Box::new(OpenPgp { armoured, read: OnceCell::new() })));
            }
            SignatureKind::Ssh => {}
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

    /// Whether it is a signature that could count.
    pub fn is_signed(&self) -> bool {
        matches!(self, Attestation::Ssh(_) | Attestation::OpenPgp(_))
    }

    /// The name of the key that it says it was made with, as far as it was read.
    pub fn key_name(&self) -> Option<String> {
        match self {
            Attestation::Ssh(envelope) => Some(envelope.key.fingerprint()),
            Attestation::OpenPgp(signature) => Some(signature.read.get()?.as_ref().ok()?.issuer.shown()),
            Attestation::Unsigned | Attestation::Foreign(_) => None,
        }
    }

    /// Whose key of the policy it says it was made with. The reason: it says nothing that the policy could know.
    pub fn holder<'p>(&self, policy: &'p Policy) -> Result<Option<(Key, &'p Holder)>, Reason> {
        match self {
            Attestation::Ssh(envelope) => {
                let holder = policy.holder(&envelope.key);
                Ok(holder.map(|holder| (Key::Ssh(envelope.key.clone()), holder)))
            }
            Attestation::OpenPgp(signature) => {
                let listed = policy.openpgp_key(&signature.read(policy)?.issuer);
                Ok(listed.map(|(key, holder)| (Key::OpenPgp(key.clone()), holder)))
            }
            Attestation::Unsigned => Err(Reason::Unsigned),
            Attestation::Foreign(kind) => Err(Reason::foreign(*kind)),
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
        let (key, holder) = match self.holder(policy) {
            Ok(Some(holder)) => holder,
            Ok(None) => return Ok(Err(Reason::UnknownKey)),
            Err(reason) => return Ok(Err(reason)),
        };
        let signer = Signer { principal: holder.principal.clone(), key };
        if let Some(last) = holder.not_after.filter(|last| now > *last) {
            return Ok(Err(Reason::ExpiredKey { principal: signer.principal, at: shown_time(last) }));
        }
        self.prove(Some(policy), payload)?;
        Ok(Ok(signer))
    }

    /// Proves that the holder of its key made it; whose key that is does not matter. OpenPGP signatures only name their key: the policy
    /// has it.
    pub fn prove(&self, policy: Option<&Policy>, payload: &[u8]) -> Result<(), Reason> {
        let proof = match self {
            Attestation::Ssh(envelope) => envelope.verify(payload),
            Attestation::OpenPgp(signature) => {
                let policy = policy.ok_or_else(|| Reason::foreign(SignatureKind::OpenPgp))?;
                let signature = signature.read(policy)?;
                let (key, _) = policy.openpgp_key(&signature.issuer).ok_or(Reason::UnknownKey)?;
                signature.verify(key, payload)
            }
            Attestation::Unsigned => return Err(Reason::Unsigned),
            Attestation::Foreign(kind) => return Err(Reason::foreign(*kind)),
        };
        proof.map_err(|error| match error {
            SignatureError::Touch => Reason::Untouched,
            _ => Reason::BadSignature,
        })
    }

    /// Whether it says that it was made with the key of the introduction.
    pub fn is_by(&self, introduced: &IntroductionKey, policy: Option<&Policy>) -> bool {
        match self {
            Attestation::Ssh(envelope) => introduced.is(&envelope.key),
            Attestation::OpenPgp(signature) => {
                let read = policy.and_then(|policy| signature.read(policy).ok());
                read.is_some_and(|signature| introduced.is_openpgp(&signature.issuer))
            }
            Attestation::Unsigned | Attestation::Foreign(_) => false,
        }
    }
}

/// A principal whose signature was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signer {
    pub principal: String,
    pub key: Key,
}
