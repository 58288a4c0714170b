//! The table of results as a Parquet file: labels as strings, numbers as doubles, without a value where there is none.

use super::merge::{Merged, Table};
use parquet::basic::{Compression, ConvertedType, Repetition, Type};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type as Schema;
use std::sync::Arc;

/// A column before it is written.
enum Values {
    Text(Vec<String>),
    Number(Vec<Option<f64>>),
}

/// The table of results.
///
/// # Errors
/// Whatever the library says.
pub fn to_parquet(merged: &Merged) -> std::io::Result<Vec<u8>> {
    let Table { axes, columns: names, rows } = Table::of(merged);
    let mut table: Vec<(String, Values)> = Vec::new();
    table.push((
        "point".into(),
        Values::Number(rows.iter().map(|(line, _)| Some(line.point as f64)).collect()),
    ));
    table.push(("id".into(), Values::Text(rows.iter().map(|(line, _)| line.id.clone()).collect())));
    for (index, axis) in axes.iter().enumerate() {
        let labels =
            rows.iter().map(|(line, _)| line.axes.get(index).map_or_else(String::new, |(_, l)| l.clone()));
        table.push((format!("axis.{axis}"), Values::Text(labels.collect())));
    }
    table.push((
        "error".into(),
        Values::Text(rows.iter().map(|(line, _)| line.error.clone().unwrap_or_default()).collect()),
    ));
    for (index, name) in names.iter().enumerate() {
        let numbers = rows.iter().map(|(_, row)| row.get(index).and_then(|(_, value)| *value));
        table.push((name.clone(), Values::Number(numbers.collect())));
    }
    encode(&table).map_err(std::io::Error::other)
}

fn encode(table: &[(String, Values)]) -> Result<Vec<u8>, parquet::errors::ParquetError> {
    let fields = table.iter().map(|(name, values)| {
        let field = match values {
            Values::Text(_) => Schema::primitive_type_builder(name, Type::BYTE_ARRAY)
                .with_converted_type(ConvertedType::UTF8)
                .with_repetition(Repetition::REQUIRED),
            Values::Number(_) => {
                Schema::primitive_type_builder(name, Type::DOUBLE).with_repetition(Repetition::OPTIONAL)
            }
        };
        field.build().map(Arc::new)
    });
    let schema =
        Schema::group_type_builder("results").with_fields(fields.collect::<Result<_, _>>()?).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (_, values) in table {
        let Some(mut column) = group.next_column()? else { break };
        match values {
            Values::Text(text) => {
                let text: Vec<ByteArray> = text.iter().map(|text| ByteArray::from(text.as_str())).collect();
                column.typed::<ByteArrayType>().write_batch(&text, None, None)?;
            }
            Values::Number(numbers) => {
                let there: Vec<f64> = numbers.iter().flatten().copied().collect();
                let levels: Vec<i16> = numbers.iter().map(|number| i16::from(number.is_some())).collect();
                column.typed::<DoubleType>().write_batch(&there, Some(&levels), None)?;
            }
        }
        column.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}
