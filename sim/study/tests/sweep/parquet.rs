//! The Parquet file, read back: column for column and value for value what the CSV file says.

use crate::{folder, made_up, options, sweep};
use parquet::basic::{LogicalType, Repetition, Type};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use pasidon_experiment::{Answer, Experiment};
use pasidon_study::sweep::merge::{collect, write};
use pasidon_study::sweep::run::run;
use std::sync::atomic::AtomicBool;

/// Some points fail, and some answers have no times.
fn with_gaps(experiment: &Experiment) -> Result<Answer, String> {
    let design = &experiment.design;
    match (design["tlb"]["l2_sets"].as_u64(), design["walk"]["walkers"].as_u64()) {
        (Some(64), Some(4)) => Err("no such thing: \"4\", as it were".to_string()),
        (Some(0), _) => Ok(Answer { times: None, ..made_up(experiment) }),
        _ => Ok(made_up(experiment)),
    }
}

/// Type and repetition that a column must have.
fn wanted(name: &str) -> (Type, Option<LogicalType>, Repetition) {
    match name {
        "point" => (Type::INT64, None, Repetition::REQUIRED),
        "engine" | "error" => (Type::BYTE_ARRAY, Some(LogicalType::String), Repetition::OPTIONAL),
        name if name == "id" || name.starts_with("axis.") => {
            (Type::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED)
        }
        _ => (Type::DOUBLE, None, Repetition::OPTIONAL),
    }
}

#[test]
fn every_value_is_the_one_of_the_csv_file() {
    let out = folder("parquet");
    run(&sweep(), &out, &options(), &with_gaps, &AtomicBool::new(false)).unwrap();
    let merged = collect(&sweep(), &out).unwrap();
    let files = write(&merged, &out).unwrap();
    assert!(files.contains(&out.join("results.parquet")), "{files:?}");

    let mut csv = csv::Reader::from_path(out.join("results.csv")).unwrap();
    let head: Vec<String> = csv.headers().unwrap().iter().map(String::from).collect();
    let lines: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();

    let bytes = std::fs::read(out.join("results.parquet")).unwrap();
    let file = std::fs::File::open(out.join("results.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    let columns: Vec<String> = schema.columns().iter().map(|column| column.name().to_string()).collect();
    assert_eq!(columns, head);
    for column in schema.columns() {
        let found =
            (column.physical_type(), column.logical_type(), column.self_type().get_basic_info().repetition());
        assert_eq!(found, wanted(column.name()), "{}", column.name());
    }

    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!((rows.len(), lines.len()), (20, 20));
    let (mut numbers, mut nulls) = (0, 0);
    for (row, line) in rows.iter().zip(&lines) {
        for ((name, value), text) in row.get_column_iter().zip(line) {
            let same = match value {
                Field::Null => text.is_empty(),
                Field::Long(n) => text.parse() == Ok(*n),
                Field::Str(found) => !text.is_empty() && found == text,
                Field::Double(x) => text.parse() == Ok(*x),
                _ => false,
            };
            assert!(same, "{name}: {value:?} for {text:?}");
            nulls += usize::from(*value == Field::Null);
            numbers += usize::from(matches!(value, Field::Double(_)));
        }
    }
    let quantities = head.iter().filter(|name| wanted(name).0 == Type::DOUBLE).count();
    let of_times = head.iter().skip_while(|name| *name != "cycles").count();
    // Of 20 points 4 failed, 8 have no times, and the 16 answers have no error.
    let missing = 4 * (1 + quantities) + 8 * of_times + 16;
    assert_eq!((nulls, numbers), (missing, 20 * quantities - 4 * quantities - 8 * of_times));

    // The same results give the same bytes.
    write(&merged, &out).unwrap();
    assert!(bytes == std::fs::read(out.join("results.parquet")).unwrap());
    std::fs::remove_dir_all(out).unwrap();
}

#[test]
fn a_sweep_without_any_answer_is_a_table_too() {
    let out = folder("parquet-failed");
    let none = |_: &Experiment| Err::<Answer, _>("no engine".to_string());
    run(&sweep(), &out, &options(), &none, &AtomicBool::new(false)).unwrap();
    write(&collect(&sweep(), &out).unwrap(), &out).unwrap();
    let file = std::fs::File::open(out.join("results.parquet")).unwrap();
    let rows: Vec<_> = SerializedFileReader::new(file)
        .unwrap()
        .get_row_iter(None)
        .unwrap()
        .map(|row| row.unwrap().into_columns())
        .collect();
    assert_eq!(rows.len(), 20);
    for row in rows {
        assert_eq!(row.last(), Some(&("error".to_string(), Field::Str("no engine".to_string()))));
    }
    std::fs::remove_dir_all(out).unwrap();
}
