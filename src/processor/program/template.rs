//! The words after `--`, and the placeholders in them.
//!
//! The operator writes the template; a job only fills it: with paths that we make, and with the job's own arguments,
//! each as a whole, for `{args}`. Inserted text is never searched for placeholders again, and no shell sees it.
//! Other braces belong to the program (`awk '{print}'`, `find {}`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::error::{Code, UserError};

/// A placeholder that stands for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileSlot {
    Input,
    Output,
}

/// A piece of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    File(FileSlot),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Argument {
    Pieces(Vec<Piece>),
    JobArgs,
}

/// Arguments with placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Template {
    arguments: Vec<Argument>,
    /// The extension of the file for `{input}`, if `{input}` is used.
    pub(super) input: Option<String>,
    /// The extension of the file for `{output}`, if `{output}` is used.
    pub(super) output: Option<String>,
}

const PLACEHOLDERS: [&str; 3] = ["{input}", "{output}", "{args}"];

/// Words in braces that must be mistakes for a placeholder: (typed, meant). Words with one wrong letter are recognised
/// without this list.
const SLIPS: [(&str, &str); 7] = [
    ("{in}", "{input}"),
    ("{infile}", "{input}"),
    ("{inputfile}", "{input}"),
    ("{out}", "{output}"),
    ("{outfile}", "{output}"),
    ("{outputfile}", "{output}"),
    ("{arguments}", "{args}"),
];

impl Template {
    pub(super) fn parse(arguments: &[OsString]) -> Result<Self, UserError> {
        let mut template = Self::default();
        for argument in arguments {
            let parsed = template.parse_argument(argument)?;
            template.arguments.push(parsed);
        }
        Ok(template)
    }

    fn parse_argument(&mut self, argument: &OsStr) -> Result<Argument, UserError> {
        if argument == "{args}" {
            return Ok(Argument::JobArgs);
        }
        refuse_slips(argument)?;
        let mut pieces = Vec::new();
        let mut rest = argument.as_bytes();
        while let Some((before, slot, after)) = next_file(rest) {
            let (extension, after) = split_extension(after);
            self.name_file(slot, extension)?;
            pieces.extend([Piece::Text(before.to_vec()), Piece::File(slot)]);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_vec()));
        Ok(Argument::Pieces(pieces))
    }

    /// All mentions of a file mean the same file, so they must agree on its extension.
    fn name_file(&mut self, slot: FileSlot, extension: &str) -> Result<(), UserError> {
        let named = match slot {
            FileSlot::Input => &mut self.input,
            FileSlot::Output => &mut self.output,
        };
        match named {
            Some(other) if other != extension => Err(UserError::usage(
                Code::ProgramWithoutInput,
                "one file with two names",
                format!("it is called {other:?} in one argument and {extension:?} in another"),
                "write the same extension after each, or none",
            )),
            _ => {
                *named = Some(extension.to_owned());
                Ok(())
            }
        }
    }

    /// The arguments for one job.
    pub(super) fn fill(&self, input: Option<&Path>, output: Option<&Path>, args: &[String]) -> Vec<OsString> {
        let mut filled = Vec::with_capacity(self.arguments.len() + args.len());
        for argument in &self.arguments {
            match argument {
                Argument::JobArgs => filled.extend(args.iter().map(OsString::from)),
                Argument::Pieces(pieces) => {
                    let mut whole = Vec::new();
                    for piece in pieces {
                        whole.extend_from_slice(match piece {
                            Piece::Text(text) => text,
                            Piece::File(FileSlot::Input) => path_bytes(input),
                            Piece::File(FileSlot::Output) => path_bytes(output),
                        });
                    }
                    filled.push(OsString::from_vec(whole));
                }
            }
        }
        filled
    }
}

fn path_bytes(path: Option<&Path>) -> &[u8] {
    path.map_or(b"", |path| path.as_os_str().as_bytes())
}

fn next_file(text: &[u8]) -> Option<(&[u8], FileSlot, &[u8])> {
    [("{input}", FileSlot::Input), ("{output}", FileSlot::Output)]
        .into_iter()
        .filter_map(|(word, slot)| find(text, word).map(|at| (at, word.len(), slot)))
        .min_by_key(|(at, ..)| *at)
        .map(|(at, length, slot)| (&text[..at], slot, &text[at + length..]))
}

/// `{output}.png` names a file whose name ends in `.png`, because many programs choose a format by the name.
fn split_extension(after: &[u8]) -> (&str, &[u8]) {
    let is_part = |byte: &u8| *byte == b'.' || byte.is_ascii_alphanumeric();
    let length = after.iter().take_while(|byte| is_part(byte)).count();
    match std::str::from_utf8(&after[..length]) {
        Ok(extension) if extension.starts_with('.') => (extension, &after[length..]),
        _ => ("", after),
    }
}

fn refuse_slips(argument: &OsStr) -> Result<(), UserError> {
    let lower = argument.as_bytes().to_ascii_lowercase();
    if find(&lower, "{args}").is_some() {
        return Err(UserError::usage(
            Code::ProgramWithoutInput,
            "{args} must be an argument of its own",
            format!("got: {}", argument.display()).escape_debug().to_string(),
            "it stands for as many arguments as the job has:  -- program --flag {args}",
        ));
    }
    let differs = |word: &&str| find(&lower, word).is_some() && find(argument.as_bytes(), word).is_none();
    let slip = SLIPS.into_iter().find(|(slip, _)| find(&lower, slip).is_some());
    let meant =
        slip.map(|(_, meant)| meant).or_else(|| PLACEHOLDERS.into_iter().find(differs)).or_else(|| nearly(&lower));
    match meant {
        None => Ok(()),
        Some(meant) => Err(UserError::usage(
            Code::ProgramWithoutInput,
            format!("unknown placeholder in {:?}", argument.display().to_string()),
            "the placeholders are {input}, {output} and {args}; the key is in the variable BATCHPIPE_KEY",
            format!("did you mean {meant}?"),
        )),
    }
}

/// The placeholder that a word in braces is one typing mistake away from: a letter too many, too few or wrong, or two
/// letters swapped.
fn nearly(text: &[u8]) -> Option<&'static str> {
    let words = text
        .split(|byte| *byte == b'{')
        .skip(1)
        .filter_map(|after| Some(&after[..after.iter().position(|byte| *byte == b'}')?]));
    let mut words = words.filter_map(|word| std::str::from_utf8(word).ok());
    words.find_map(|word| {
        PLACEHOLDERS.into_iter().find(|known| strsim::osa_distance(word, known.trim_matches(['{', '}'])) == 1)
    })
}

/// Whether `text` contains a placeholder.
pub(super) fn has_placeholder(text: &OsStr) -> bool {
    PLACEHOLDERS.into_iter().any(|word| find(text.as_bytes(), word).is_some())
}

fn find(text: &[u8], word: &str) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Template, UserError> {
        Template::parse(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn filled(arguments: &[&str], args: &[&str]) -> Vec<OsString> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        parse(arguments).unwrap().fill(Some(Path::new("/w/i")), Some(Path::new("/w/o")), &args)
    }

    #[test]
    fn placeholders_are_filled_inside_an_argument_and_other_braces_are_left_alone() {
        assert_eq!(
            filled(&["--in={input}", "{print $1}", "{}", "png:{output}"], &[]),
            ["--in=/w/i", "{print $1}", "{}", "png:/w/o"]
        );
        assert_eq!(filled(&["{input},{output},{input}"], &[]), ["/w/i,/w/o,/w/i"]);
    }

    #[test]
    fn a_jobs_arguments_stay_whole_and_are_never_templates() {
        assert_eq!(
            filled(&["a", "{args}", "z"], &["; rm -rf /", "{input}", "", "{args}"]),
            ["a", "; rm -rf /", "{input}", "", "{args}", "z"]
        );
        assert_eq!(filled(&["{args}"], &[]), Vec::<OsString>::new());
    }

    #[test]
    fn an_extension_belongs_to_the_file_it_follows() {
        let template = parse(&["{input}", "{output}.tar.gz", "{output}.tar.gz:x"]).unwrap();
        assert_eq!((template.input.as_deref(), template.output.as_deref()), (Some(""), Some(".tar.gz")));
        assert_eq!(template.fill(None, Some(Path::new("/w/o.tar.gz")), &[])[2], "/w/o.tar.gz:x");
        assert!(parse(&["{output}.png", "{output}.jpg"]).is_err());
    }

    #[test]
    fn a_slip_in_a_placeholder_is_named() {
        for (typed, meant) in [
            ("{in}", "{input}"),
            ("-o{Out}", "{output}"),
            ("{INPUT}", "{input}"),
            ("{inpt}", "{input}"),
            ("x{ouptut}.png", "{output}"),
            ("{arg}", "{args}"),
        ] {
            assert!(parse(&[typed]).unwrap_err().to_string().contains(&format!("did you mean {meant}?")), "{typed}");
        }
        assert!(parse(&["--x={args}"]).unwrap_err().to_string().starts_with("error[BP111]"));
    }

    #[test]
    fn bytes_that_are_no_text_pass_through() {
        let odd = OsString::from_vec(b"\xff{input}\xfe".to_vec());
        let template = Template::parse(&[odd]).unwrap();
        assert_eq!(template.fill(Some(Path::new("/i")), None, &[]), [OsString::from_vec(b"\xff/i\xfe".to_vec())]);
    }
}
