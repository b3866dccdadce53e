//! What `check` found, as text. One list, so that a user sees everything at once.

use std::fmt::Write;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Worth knowing.
    Note,
    /// Works, but may surprise.
    Warning,
    /// `run` would refuse to start, or stop there.
    Error,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "ERROR",
        }
    }
}

/// Findings under headings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    sections: Vec<Section>,
}

#[derive(Clone, Debug, Default)]
struct Section {
    title: String,
    lines: Vec<String>,
    findings: Vec<(Severity, String)>,
}

impl Report {
    /// Begins a heading; what follows stands under it.
    pub(crate) fn section(&mut self, title: impl Into<String>) {
        self.sections.push(Section { title: title.into(), ..Section::default() });
    }

    /// Plain text under the heading.
    pub(crate) fn line(&mut self, text: impl Into<String>) {
        self.current().lines.push(text.into());
    }

    /// A finding under the heading.
    pub(crate) fn add(&mut self, severity: Severity, text: impl Into<String>) {
        let finding = (severity, text.into());
        let findings = &mut self.current().findings;
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    /// `run` would stop.
    pub(crate) fn error(&mut self, text: impl Into<String>) {
        self.add(Severity::Error, text);
    }

    /// Works, but may surprise.
    pub(crate) fn warning(&mut self, text: impl Into<String>) {
        self.add(Severity::Warning, text);
    }

    /// Worth knowing.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.add(Severity::Note, text);
    }

    fn current(&mut self) -> &mut Section {
        if self.sections.is_empty() {
            self.sections.push(Section::default());
        }
        self.sections.last_mut().expect("one was just made")
    }

    /// Number of findings of a severity.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.sections.iter().flat_map(|section| &section.findings).filter(|(own, _)| *own == severity).count()
    }

    /// Everything, with a last line that counts.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for section in &self.sections {
            let _ = writeln!(out, "{}", section.title);
            for line in &section.lines {
                let _ = writeln!(out, "  {line}");
            }
            let mut findings = section.findings.clone();
            findings.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
            for (severity, text) in findings {
                let _ = writeln!(out, "  {}: {text}", severity.word());
            }
            out.push('\n');
        }
        let _ =
            writeln!(out, "check: {} errors, {} warnings", self.count(Severity::Error), self.count(Severity::Warning));
        out
    }
}
