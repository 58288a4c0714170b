//! The table of results as a Parquet file: the same columns as the CSV file's, with types. The number of a point is a whole number,
//! labels are strings, quantities are doubles. What a point does not have is null: the error of one that has an answer, the answer of
//! one that failed.

use super::merge::{Merged, Table, engine};
use parquet::basic::{Compression, LogicalType, Repetition, Type};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type as Schema, TypePtr};
use std::sync::Arc;

/// A column before it is written.
enum Values {
    Whole(Vec<i64>),
    Text(Vec<String>),
    MaybeText(Vec<Option<String>>),
    Number(Vec<Option<f64>>),
}

/// The table of results.
///
/// # Errors
/// Whatever the library says.
pub fn to_parquet(merged: &Merged) -> std::io::Result<Vec<u8>> {
    let Table { axes, columns: names, rows } = Table::of(merged);
    let mut table: Vec<(String, Values)> = vec![
        ("point".into(), Values::Whole(rows.iter().map(|(line, _)| line.point as i64).collect())),
        ("id".into(), Values::Text(rows.iter().map(|(line, _)| line.id.clone()).collect())),
    ];
    for (index, axis) in axes.iter().enumerate() {
        let labels =
            rows.iter().map(|(line, _)| line.axes.get(index).map_or_else(String::new, |(_, l)| l.clone()));
        table.push((format!("axis.{axis}"), Values::Text(labels.collect())));
    }
    table.push(("engine".into(), Values::MaybeText(rows.iter().map(|(line, _)| engine(line)).collect())));
    table
        .push(("error".into(), Values::MaybeText(rows.iter().map(|(line, _)| line.error.clone()).collect())));
    for (index, name) in names.iter().enumerate() {
        let numbers = rows.iter().map(|(_, row)| row.get(index).and_then(|(_, value)| *value));
        table.push((name.clone(), Values::Number(numbers.collect())));
    }
    encode(&table).map_err(std::io::Error::other)
}

fn encode(table: &[(String, Values)]) -> Result<Vec<u8>, ParquetError> {
    let fields = table.iter().map(|(name, values)| values.field(name)).collect::<Result<_, _>>()?;
    let schema = Schema::group_type_builder("results").with_fields(fields).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (_, values) in table {
        let Some(mut column) = group.next_column()? else { break };
        values.write(&mut column)?;
        column.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

impl Values {
    fn field(&self, name: &str) -> Result<TypePtr, ParquetError> {
        let (stored, meaning, repetition) = match self {
            Values::Whole(_) => (Type::INT64, None, Repetition::REQUIRED),
            Values::Text(_) => (Type::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED),
            Values::MaybeText(_) => (Type::BYTE_ARRAY, Some(LogicalType::String), Repetition::OPTIONAL),
            Values::Number(_) => (Type::DOUBLE, None, Repetition::OPTIONAL),
        };
        let field = Schema::primitive_type_builder(name, stored)
            .with_logical_type(meaning)
            .with_repetition(repetition)
            .build()?;
        Ok(Arc::new(field))
    }

    fn write(&self, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        match self {
            Values::Whole(numbers) => column.typed::<Int64Type>().write_batch(numbers, None, None)?,
            Values::Text(texts) => {
                let texts: Vec<ByteArray> = texts.iter().map(|text| text.as_str().into()).collect();
                column.typed::<ByteArrayType>().write_batch(&texts, None, None)?
            }
            Values::MaybeText(texts) => {
                let there: Vec<ByteArray> = texts.iter().flatten().map(|text| text.as_str().into()).collect();
                column.typed::<ByteArrayType>().write_batch(&there, Some(&levels(texts)), None)?
            }
            Values::Number(numbers) => {
                let there: Vec<f64> = numbers.iter().flatten().copied().collect();
                column.typed::<DoubleType>().write_batch(&there, Some(&levels(numbers)), None)?
            }
        };
        Ok(())
    }
}

/// Which values are there.
fn levels<T>(values: &[Option<T>]) -> Vec<i16> {
    values.iter().map(|value| i16::from(value.is_some())).collect()
}
