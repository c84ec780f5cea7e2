//! A QR code for a terminal, so that a link gets from a screen to a telephone.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// The terminal behind standard error, if there is one.
pub fn terminal() -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
    Some(Size {
        columns: size.ws_col.into(),
        rows: size.ws_row.into(),
    })
}

/// The code in half blocks, or nothing where the text is too long or the terminal too small to show it whole.
pub fn draw(text: &str, terminal: Size) -> Option<String> {
    // The lowest level of correction: a screen is not a crumpled poster, and a smaller code fits more terminals.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let picture = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    let columns = picture.lines().map(|line| line.chars().count()).max()?;
    let rows = picture.lines().count();
    if columns > terminal.columns || rows > terminal.rows {
        return None;
    }
    // White on black by command, whatever the theme: cameras want dark modules on a light ground.
    let lines = picture.lines().map(|line| format!("\x1b[97;40m{line}\x1b[0m"));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGNET: &str = "magnet:?xt=urn:btih:0123456789012345678901234567890123456789&dn=Photos\
        &tr=http%3A%2F%2F192.168.1.5%3A6969%2Fannounce&x.pe=192.168.1.5%3A16881";

    #[test]
    fn a_code_is_drawn_where_it_fits() {
        let drawn = draw(
            MAGNET,
            Size {
                columns: 80,
                rows: 40,
            },
        )
        .unwrap();
        assert!(drawn.lines().count() <= 40);
        assert!(drawn.contains('█') && drawn.contains('▀'));
    }

    #[test]
    fn a_code_that_would_be_cut_is_not_drawn() {
        assert_eq!(
            draw(
                MAGNET,
                Size {
                    columns: 40,
                    rows: 40
                }
            ),
            None
        );
        assert_eq!(
            draw(
                MAGNET,
                Size {
                    columns: 80,
                    rows: 12
                }
            ),
            None
        );
        assert_eq!(
            draw(
                &"x".repeat(4_000),
                Size {
                    columns: 999,
                    rows: 999
                }
            ),
            None
        );
    }
}
